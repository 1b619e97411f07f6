"""A stock Nova on loopback: API, conductor, scheduler and computes, nothing patched.

What differs from a production Nova is configuration: no Keystone in front (the filter that asks it
is taken out of api-paste.ini), no Neutron and no Glance behind, and a virt driver that makes
believe.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from servers.openstack import OpenStack, Settings, WebAPI, ini, merged, output

NOBODY = "fake://"
"""The transport URL of a Nova without a broker: what it sends goes nowhere."""

NOWHERE = "http://127.0.0.1:1"
"""Where Placement is in a Nova without computes, which asks it nothing but wants to know."""


CONTROL = "control"
"""The host of everything but computes."""


class Databases(NamedTuple):
    """Three empty PostgreSQL databases as SQLAlchemy URLs: Nova's API, main and cell0 database."""

    api: str
    main: str
    cell0: str


def cached_in(memcached: str) -> Settings:
    """Let Nova cache in a memcached (host and port) instead of in each process's memory."""
    return {"cache": {"backend": "dogpile.cache.memcached", "memcache_servers": memcached}}


def with_layer(driver: str, **options: object) -> Settings:
    """Return what an operator adds to nova.conf for the layer, a driver and its options."""
    return {
        "DEFAULT": {"config_source": "servicegroup", "servicegroup_driver": driver},
        "servicegroup": {"driver": "servicegroup"},
        driver: options,
        "notifications": {"notification_format": "versioned"},
        "oslo_messaging_notifications": {"driver": "servicegroup"},
    }


def psycopg2(url: str) -> str:
    """Name the client library that Nova's environment has in a URL."""
    return url.replace("+psycopg:", "+psycopg2:")


class NovaAPI(WebAPI):
    """The compute API of a Nova 34 on three empty databases, and what all of that Nova share.

    `transport_url` is oslo.messaging's, `placement` the URL of that API. The first start makes the
    schemas, which takes about 40 s. Every process of this Nova reads `settings` when it starts,
    on top of `base`.
    """

    name = "nova"
    package = "nova"
    application = "nova.wsgi.osapi_compute:application"
    configured_by = "OS_NOVA_CONFIG_DIR"
    headers: Mapping[str, str] = {
        "OpenStack-API-Version": "compute 2.69",  # what `openstack compute service list` asks for
    }
    """What a request asks with."""

    def __init__(
        self, databases: Databases, transport_url: str = NOBODY, placement: str = NOWHERE
    ) -> None:
        super().__init__()
        self.databases = databases
        self.transport_url = transport_url
        self.placement = placement
        self.settings: Settings = {}
        self.configuration = self.directory / "nova.conf"

    @property
    def url(self) -> str:
        """Where the compute API is."""
        return f"http://{self.address}/v2.1"

    def base(self, host: str, directory: Path) -> Settings:
        """Return what a process on a host, with a directory of its own, is told without SQL."""
        return {
            "DEFAULT": {
                "host": host,
                "my_ip": "127.0.0.1",
                "state_path": directory,
                "transport_url": self.transport_url,
                "compute_driver": "fake.FakeDriverWithoutFakeNodes",
            },
            # Nova caches every host's availability zone while it lists services. Its own default,
            # oslo_cache.dict, walks over the whole cache for each: far slower than this.
            "cache": {"enabled": "true", "backend": "dogpile.cache.memory"},
            "keystone": {"enabled": "false"},
            "neutron": {"auth_type": "admin_token"},
            "oslo_concurrency": {"lock_path": directory},
            "placement": {
                "auth_type": "admin_token",
                "token": "admin",
                "endpoint": self.placement,
                "endpoint_override": self.placement,
            },
            # A new compute gets work, and can be deleted, once a scheduler has mapped it.
            "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 2},
            "conductor": {"workers": 1},
        }

    def configure(self) -> None:
        """Write nova.conf for all that may use the databases."""
        self.configuration.write_text(self.configured(CONTROL, self.directory))

    def configured(self, host: str, directory: Path) -> str:
        """Return nova.conf for a process on a host that may use the databases."""
        databases = {
            "api_database": {"connection": psycopg2(self.databases.api)},
            "database": {"connection": psycopg2(self.databases.main)},
        }
        return ini(merged(self.base(host, directory), databases, self.settings))

    def prepare(self) -> None:
        """Make the schemas and the cell."""
        self.configure()
        shipped = (self.environment / "etc/nova/api-paste.ini").read_text()
        (self.directory / "api-paste.ini").write_text(shipped.replace(" authtoken ", " "))
        print("Making Nova's databases ...", file=sys.stderr, flush=True)
        cell0 = psycopg2(self.databases.cell0)
        self._manage("api_db", "sync")
        self._manage("cell_v2", "map_cell0", "--database_connection", cell0)
        self._manage("db", "sync")
        self._manage("cell_v2", "create_cell", "--name", "cell1")

    def launch(self) -> None:
        self.configure()
        super().launch()

    def servicegroup(self, *arguments: str) -> str:
        """Return what `servicegroup nova …` prints of this Nova. Raises ServerError."""
        program = self.program("servicegroup")
        return output(program, "nova", "--nova-config-file", self.configuration, *arguments)

    def manage(self, *arguments: str) -> str:
        """Return what `nova-manage …` prints of this Nova. Raises ServerError."""
        return output(self.program("nova-manage"), "--config-file", self.configuration, *arguments)

    def _manage(self, *arguments: str) -> None:
        self.run(self.program("nova-manage"), "--config-file", self.configuration, *arguments)


class NovaService(OpenStack):
    """A process that answers to nobody but the broker, beside the API of the same Nova."""

    package = "nova"
    host = CONTROL
    starting: str
    """What its log says once it has begun to join."""

    def __init__(self, nova: NovaAPI) -> None:
        super().__init__()
        self.nova = nova
        self.own: Settings = {}
        self._read = 0

    @property
    def identity(self) -> tuple[str, str]:
        """Its binary and host."""
        return self.name, self.host

    @property
    def configuration(self) -> Path:
        """The file it reads."""
        return self.nova.configuration

    def configure(self) -> None:
        """Write that file."""
        self.nova.configure()

    def launch(self) -> None:
        self.configure()
        self._read = self.log.stat().st_size if self.log.exists() else 0
        super().launch()

    def command(self) -> Sequence[str | Path]:
        """Run the console script that the package ships."""
        return [self.program(self.name), "--config-file", self.configuration]

    def answers(self) -> bool:
        """Look into its log: it listens on no port."""
        return self.starting in self.said()

    def said(self) -> str:
        """Return what it has logged since it was last started."""
        with self.log.open(errors="replace") as log:
            log.seek(self._read)
            return log.read()


class Conductor(NovaService):
    """The process that computes report to, over the broker."""

    name = "nova-conductor"
    starting = "Starting conductor node"

    def __init__(self, nova: NovaAPI, host: str = CONTROL) -> None:
        super().__init__(nova)
        self.host = host

    @property
    def configuration(self) -> Path:
        beside = self.nova if self.host == CONTROL else self
        return beside.directory / "nova.conf"

    def configure(self) -> None:
        self.configuration.write_text(self.nova.configured(self.host, self.configuration.parent))


class Scheduler(NovaService):
    """The process that finds hosts for instances."""

    name = "nova-scheduler"
    starting = "Starting scheduler node"


class Compute(NovaService):
    """A nova-compute on a host of its own, which knows no database.

    It starts with the settings of all, and those of its ``own`` on top.
    """

    name = "nova-compute"
    starting = "Starting compute node"

    def __init__(self, nova: NovaAPI, host: str) -> None:
        super().__init__(nova)
        self.host = host

    @property
    def configuration(self) -> Path:
        return self.directory / "nova.conf"

    def configure(self) -> None:
        base = self.nova.base(self.host, self.directory)
        self.configuration.write_text(ini(merged(base, self.nova.settings, self.own)))
