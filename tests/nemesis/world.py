"""The world: control planes, their database and backend, and a fleet, with proxies on all ways.

There are two sites. Each has services of its own, in a zone of its name, and its own ways to every
control plane and to the backend; each control plane has its own ways to the database and to the
backend. The seed chooses which database and which backend.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nemesis.clock import Clock
from nemesis.database import SmallDisk
from nemesis.fleet import Process
from promises.history import Recorder, Settings
from promises.witness import AWAY, v1
from servers.mariadb import MariaDB
from servers.memcached import Memcached
from servers.postgresql import PostgreSQL, Standby
from servers.process import PATIENCE, Started
from servers.proxy import Proxy
from servers.zookeeper import ZooKeeper, ZooKeeperEnsemble
from servicegroup.model import Limits, Reason
from support.control_plane import ControlPlane, intervals
from support.waiting import until

LIMITS = Limits(report_interval=1, service_down_time=6, heartbeat_interval=0.5, membership_ttl=2)
SESSION = 2.0
"""Seconds of ZooKeeper's session timeout; it is silent for two thirds of it before kazoo's ping."""

_NO_DATABASE = 4
"""What a control plane exits with whose database did not answer at its start."""

PLANES = ("plane0", "plane1")
SITES = ("north", "south")
EVERYBODY = "everybody"
"""Who goes one way: agents and control planes have to know memcached by the same name."""


DATABASES: tuple[type[PostgreSQL | MariaDB], ...] = (PostgreSQL, MariaDB)
BACKENDS: tuple[type[ZooKeeperEnsemble | Memcached], ...] = (ZooKeeperEnsemble, Memcached)

Way = tuple[str, str]
"""From a site, a control plane or everybody to a control plane, the database or the backend."""


class Plane(ControlPlane):
    """A control plane with a clock of its own."""

    def __init__(
        self, name: str, connection: str, directory: Path, sections: str, **options: Any
    ) -> None:
        self.name = name
        self.clock = Clock(directory / f"{name}.clock")
        super().__init__(connection, directory, **options)
        self.http.connection_pool_kw["maxsize"] = 8  # several witnesses ask at once
        self.configure(sections, **options)

    def command(self, *arguments: str) -> list[str]:
        return [*self.clock.words, *super().command(*arguments)]

    def start_again(self) -> None:
        """Start what was ended, and return when it commits reports."""
        self.start_only()
        self.wait()

    def is_ready(self) -> bool:
        """Tell whether it commits; a start without a database is tried again, as systemd does."""
        if self.process.poll() == _NO_DATABASE:
            self.start_only()
        return super().is_ready()

    def wait(self) -> None:
        """Return when it commits reports."""
        until(self.is_ready, PATIENCE, what=f"{self.name} commits")


class World(Started):
    """Everything there is; ``record`` writes down what is done to it."""

    def __init__(self, directory: Path, seed: int) -> None:
        directory.chmod(0o755)  # databases read their clock there, as somebody else
        dice = random.Random(seed)
        self.directory = directory
        self.seed = seed
        self.database = dice.choice(DATABASES)()
        self.disk = SmallDisk(self.database.directory)
        self.clock = Clock(directory / "database.clock")
        self.backend = dice.choice(BACKENDS)()
        self.record = Recorder(directory / "world.jsonl")
        self.ways: dict[Way, list[Proxy]] = {}
        self.planes: list[Plane] = []
        self.fleet: list[Process] = []
        self._stack = ExitStack()

    @property
    def driver(self) -> str:
        """The driver of the backend."""
        return self.servers[0].name

    @property
    def servers(self) -> Sequence[ZooKeeper | Memcached]:
        """The servers of the backend."""
        return (
            self.backend.servers if isinstance(self.backend, ZooKeeperEnsemble) else [self.backend]
        )

    def start(self) -> None:
        if isinstance(self.database, PostgreSQL):
            self.database.before = self.clock.words
        for part in (self.disk, self.backend, self.database):
            self._stack.enter_context(part)
        self._first, self._url = self.database.address, self.database.database()
        self._make_planes()
        self._make_fleet()
        for process in self.fleet:
            process.start()
        until(self.is_well, 2 * PATIENCE, what="everybody is up")

    def close(self) -> None:
        for process in self.fleet:
            process.kill()
        self._stack.close()

    def is_well(self) -> bool:
        """Tell whether every service of the fleet is up, and present, by every control plane."""
        wanted = {key for process in self.fleet for key in process.keys}
        try:
            return all(
                {one.key for one in v1(plane) if one.reason is Reason.PRESENT} >= wanted
                for plane in self.planes
            )
        except AWAY:
            return False

    def fail_over(self) -> None:
        """Lose the database's server, and promote one that kept up with it in its place."""
        primary = self.database
        assert isinstance(primary, PostgreSQL)
        standby = Standby(primary)
        standby.before = primary.before
        self.disk = SmallDisk(standby.directory)
        for part in (self.disk, standby):
            self._stack.enter_context(part)
        standby.keep_up()
        primary.kill()
        standby.promote()
        self.database = standby
        for plane in self.planes:
            self.ways[plane.name, "database"][0].target = standby.port

    @property
    def url(self) -> str:
        """The register's URL, past all proxies."""
        return self._url.replace(self._first, self.database.address)

    def settings(self, slack: float) -> Settings:
        """Return what the promises are measured by, on a machine that is so many seconds late."""
        _, _, body = self.planes[0].request("GET", "/v1/drivers")
        return Settings(
            limits=LIMITS,
            detection=body["drivers"][0]["detection_seconds"],
            kept=LIMITS.membership_ttl if self.driver == "memcached" else SESSION * 2 / 3,
            slack=slack,
            seed=self.seed,
        )

    def files(self) -> list[Path]:
        """Return the files of the history."""
        return sorted(self.directory.glob("*.jsonl"))

    # -- how it is made ------------------------------------------------------------------------

    def _way(self, source: str, target: str, ports: Sequence[int]) -> str:
        """Make a way to servers on these ports; return their addresses by it."""
        proxies = [self._stack.enter_context(Proxy(port)) for port in ports]
        self.ways[source, target] = proxies
        return ",".join(proxy.address for proxy in proxies)

    def _way_to_backend(self, source: str) -> str:
        if self.driver == "memcached" and (EVERYBODY, "backend") in self.ways:
            return self.ways[EVERYBODY, "backend"][0].address
        source = EVERYBODY if self.driver == "memcached" else source
        return self._way(source, "backend", [server.port for server in self.servers])

    def _make_planes(self) -> None:
        for name in PLANES:
            address = self._way(name, "database", [self.database.port])
            plane = Plane(
                name,
                self.url.replace(self.database.address, address),
                self.directory,
                self._section(self._way_to_backend(name)),
                servicegroup_driver=self.driver,
                **intervals(LIMITS),
            )
            self.planes.append(plane)
            self._stack.callback(plane.kill)
        self.planes[0].start(wait=False)
        for plane in self.planes[1:]:
            plane.start_only()
        for plane in self.planes:
            plane.wait()

    def _section(self, address: str) -> str:
        if self.driver == "memcached":
            return f"[memcached]\nservers = {address}\n"
        options = f"session_timeout = {SESSION}\ntick_time = 0.5"
        return f"[zookeeper]\naddress = {address}\n{options}\n"

    def _make_fleet(self) -> None:
        for site in SITES:
            addresses = [self._way(site, plane.name, [plane.port]) for plane in self.planes]
            if site == SITES[1]:
                addresses.reverse()  # so that each control plane hears of somebody first
            environment = {
                "SERVICEGROUP_URL": ",".join(f"http://{address}" for address in addresses)
            }
            backend = self._way_to_backend(site)
            if self.driver == "zookeeper":
                environment["OS_ZOOKEEPER__ADDRESS"] = backend
            self._make_site(site, environment)

    def _make_site(self, site: str, environment: dict[str, str]) -> None:
        def add(name: str, binary: str, hosts: list[str], *words: str) -> None:
            keys = [(host, binary) for host in hosts]
            self.fleet.append(Process(f"{site}-{name}", keys, self.directory, environment, *words))

        for name in ("rack0", "rack1"):
            hosts = [f"{site}-{name}-{number}" for number in range(4)]
            add(name, "nova-compute", hosts, "join", site, "nova-compute", *hosts)
        for name in ("single0", "single1"):
            host = f"{site}-{name}"
            words = ("agent", "--host", host, "--zone", site, "--binary", "nova-compute")
            add(name, "nova-compute", [host], *words)
        host = f"{site}-volume"
        words = ("agent", "--host", host, "--zone", site, "--binary", "cinder-volume")
        add("volume", "cinder-volume", [host], *words, "--", "sleep", "infinity")
