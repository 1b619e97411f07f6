"""A control plane of stock Nova on loopback: databases, API and conductor, nothing patched.

What differs from a production Nova is configuration: no Keystone in front (the filter that asks it
is taken out of api-paste.ini, so identity headers are believed) and no Placement or Neutron behind.
"""

from __future__ import annotations

import http.client
import sys
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.nova_peer.install import environment
from servers.process import LOOPBACK, Server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

API_THREADS = 4

NOBODY = "fake://"
"""The transport URL of a Nova without a broker: what it sends goes nowhere."""

NOVA_CONF = """\
[DEFAULT]
host = control
my_ip = 127.0.0.1
state_path = {directory}
transport_url = {transport_url}
compute_driver = fake.FakeDriverWithoutFakeNodes

[api_database]
connection = {databases.api}

[database]
connection = {databases.main}

[cache]
enabled = true
backend = dogpile.cache.{cache}
memcache_servers = {memcached}

[conductor]
workers = 1

[keystone]
enabled = false

[neutron]
auth_type = admin_token

# The conductor wants to know where Placement is before it starts, and asks it nothing here.
[placement]
auth_type = admin_token
endpoint_override = http://127.0.0.1:1/v1

[oslo_concurrency]
lock_path = {directory}
"""


class Databases(NamedTuple):
    """Three empty PostgreSQL databases as SQLAlchemy URLs: Nova's API, main and cell0 database."""

    api: str
    main: str
    cell0: str

    def for_nova(self) -> Databases:
        """Name the client library that Nova uses in every URL."""
        return Databases(*(url.replace("+psycopg:", "+psycopg2:") for url in self))


class NovaPeer(Server):
    """The API of a Nova 34 on three empty databases: one process with `API_THREADS` threads.

    `transport_url` is oslo.messaging's. Nova is installed if need be, and the first start makes the
    schemas, which takes about 40 s. Raises InstallError and ServerError.
    """

    name = "nova"
    package = "nova"
    headers: Mapping[str, str] = {
        "X-User-Id": "admin",
        "X-Project-Id": "admin",
        "X-Roles": "admin,member,reader",
        "OpenStack-API-Version": "compute 2.69",  # what `openstack compute service list` asks for
    }
    """What makes a request an administrator's."""

    def __init__(self, databases: Databases, transport_url: str = NOBODY) -> None:
        super().__init__()
        self.environment = environment()
        self.databases = databases
        self.transport_url = transport_url
        self.configuration = self.directory / "nova.conf"

    @classmethod
    def installed(cls) -> bool:
        """Say yes: the constructor installs it."""
        return True

    @property
    def url(self) -> str:
        """Where the compute API is."""
        return f"http://{self.address}/v2.1"

    def program(self, name: str) -> Path:
        """Return the path of a program in Nova's environment."""
        return self.environment / "bin" / name

    def configure(self, memcached: str | None = None) -> None:
        """Write nova.conf; a server that runs reads it when it is restarted.

        Nova caches every host's availability zone while it lists services. Without a memcached
        (host and port) that stays in the process, the quickest a single API can have. Nova's
        own default, oslo_cache.dict, walks over the whole cache for each host: far slower.
        """
        text = NOVA_CONF.format(
            directory=self.directory,
            transport_url=self.transport_url,
            databases=self.databases.for_nova(),
            cache="memcached" if memcached else "memory",
            memcached=memcached or "",
        )
        self.configuration.write_text(text)

    def prepare(self) -> None:
        """Write the configuration and make the schemas and the cell."""
        self.configure()
        shipped = (self.environment / "etc/nova/api-paste.ini").read_text()
        (self.directory / "api-paste.ini").write_text(shipped.replace(" authtoken ", " "))
        print("Making Nova's databases ...", file=sys.stderr, flush=True)
        cell0 = self.databases.for_nova().cell0
        self._manage("api_db", "sync")
        self._manage("cell_v2", "map_cell0", "--database_connection", cell0)
        self._manage("db", "sync")
        self._manage("cell_v2", "create_cell", "--name", "cell1")

    def _manage(self, *arguments: str) -> None:
        self.run(self.program("nova-manage"), "--config-file", self.configuration, *arguments)

    def command(self) -> Sequence[str | Path]:
        """Run the WSGI application that the package ships under uWSGI."""
        return [
            *("env", f"OS_NOVA_CONFIG_DIR={self.directory}", self.program("pyuwsgi")),
            *("--http-socket", self.address, "--module", "nova.wsgi.osapi_compute:application"),
            *("--processes", "1", "--threads", str(API_THREADS), "--enable-threads"),
            *("--lazy-apps", "--need-app", "--die-on-term", "--disable-logging"),
            # Nova parses the arguments of whoever runs it; uWSGI would keep connections open.
            *("--pyargv", "", "--add-header", "Connection: close", "--buffer-size", "65535"),
        ]

    def answers(self) -> bool:
        """Ask which versions of the API there are."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == http.HTTPStatus.OK
        finally:
            connection.close()


class Conductor(Server):
    """The process that computes send their heartbeats to: one worker, reached over the broker."""

    name = "nova-conductor"
    package = "nova"

    def __init__(self, peer: NovaPeer) -> None:
        super().__init__()
        self.peer = peer

    @classmethod
    def installed(cls) -> bool:
        """Say yes: it comes with the peer."""
        return True

    def command(self) -> Sequence[str | Path]:
        """Run the console script that the package ships."""
        return [self.peer.program("nova-conductor"), "--config-file", self.peer.configuration]

    def answers(self) -> bool:
        """Look into its log: it listens on no port, and callers can wait for it as Nova does."""
        return "Starting conductor node" in self.log.read_text()
