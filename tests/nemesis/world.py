"""The world: control planes, their database and backend, and a fleet, with proxies on all ways.

There are two sites. Each has services of its own, in a zone of its name, and its own ways to every
control plane and to the backend; each control plane has its own ways to the database and to the
backend. The seed chooses which database and which backend.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nemesis.backends import BACKENDS
from nemesis.clock import Clock
from nemesis.databases import DATABASES
from nemesis.fleet import Process
from nemesis.lasting import Lasting
from nemesis.ways import EVERYBODY, Way
from promises.history import Recorder, Settings
from promises.witness import AWAY, v1
from servers.process import Server, Started
from servers.proxy import Proxy
from servicegroup.model import Reason
from support.control_plane import ControlPlane, intervals

_NO_DATABASE = 4
"""What a control plane exits with whose database did not answer at its start."""

PLANES = ("plane0", "plane1")
SITES = ("north", "south")


class Plane(ControlPlane):
    """A control plane with a clock of its own."""

    def __init__(
        self,
        name: str,
        connection: str,
        directory: Path,
        sections: str,
        lasting: Lasting,
        **options: Any,
    ) -> None:
        self.name = name
        self.starts = 0
        self._lasting = lasting
        self.clock = Clock(directory / f"{name}.clock")
        super().__init__(connection, directory, **options)
        self.http.connection_pool_kw["maxsize"] = 8  # several witnesses ask at once
        self.configure(sections, **options)

    def command(self, *arguments: str) -> list[str]:
        return [*self.clock.words, *super().command(*arguments)]

    def start_only(self) -> None:
        super().start_only()
        self.starts += 1

    def start_again(self) -> None:
        """Start what was ended, and return when it commits reports."""
        self.start_only()
        self.wait()

    def stop(self) -> None:
        """Stop it in order; kill what takes too long, and say so, as systemd does."""
        try:
            super().stop()
        except subprocess.TimeoutExpired as error:
            print(f"{self.name} did not stop within {error.timeout} s", file=sys.stderr)
            self.kill()

    def is_ready(self) -> bool:
        """Tell whether it commits; a start without a database is tried again, as systemd does."""
        if self.process.poll() == _NO_DATABASE:
            self.start_only()
        return super().is_ready()

    def wait(self) -> None:
        """Return when it commits reports, however long others' faults last that prevent it."""
        before = self.starts

        def what() -> str:
            again = f"it was started {self.starts - before} times more"
            end = "\n".join(self.log().splitlines()[-20:])
            return f"{self.name} does not commit; {again}; the end of its log:\n{end}\n"

        self._lasting.until(self.is_ready, what)


class World(Started):
    """Everything there is; ``record`` writes down what is done to it."""

    def __init__(
        self, directory: Path, seed: int, database: str | None = None, backend: str | None = None
    ) -> None:
        """Choose database and backend by the seed where they are not named."""
        dice = random.Random(seed)
        chosen = dice.choice(list(DATABASES)), dice.choice(list(BACKENDS))
        self.directory = directory
        self.seed = seed
        self.clock = Clock.of_servers()
        self.database = DATABASES[database or chosen[0]](self.clock)
        self.backend = BACKENDS[backend or chosen[1]]()
        self.record = Recorder(directory / "world.jsonl")
        self.lasting = Lasting()
        self.ways: dict[Way, list[Proxy]] = {}
        self.planes: list[Plane] = []
        self.fleet: list[Process] = []
        self._stack = ExitStack()

    @property
    def driver(self) -> str:
        """The driver of the backend."""
        return self.backend.name

    @property
    def servers(self) -> Sequence[Server]:
        """The servers of the backend."""
        return self.backend.servers

    def start(self) -> None:
        for part in (self.backend, self.database):
            self._stack.enter_context(part)
        if self.backend.shared:
            self.ways[EVERYBODY, "backend"] = list(self.backend.shared)
        self._make_planes()
        self._make_fleet()
        for process in self.fleet:
            process.start()
        self.wait()

    def close(self) -> None:
        for process in self.fleet:
            process.kill()
        self._stack.close()

    def wait(self) -> None:
        """Return when every service of the fleet is up, and present, by every control plane."""
        self.lasting.until(
            lambda: not any(map(self._lacking, self.planes)),
            lambda: "; ".join(f"{p.name} tells {self._lacking(p) or 'all'}" for p in self.planes),
        )

    def _lacking(self, plane: Plane) -> str:
        """Return what a control plane tells of the fleet beside present, or nothing."""
        wanted = {key for process in self.fleet for key in process.keys}
        try:
            told = {one.key: one.reason for one in v1(plane)}
        except AWAY as error:
            return f"nothing ({error})"
        reasons = Counter(str(told.get(key)) for key in wanted)
        return "" if set(reasons) == {str(Reason.PRESENT)} else str(dict(reasons))

    def settings(self, slack: float) -> Settings:
        """Return what the promises are measured by, on a machine that is so many seconds late."""
        _, _, body = self.planes[0].request("GET", "/v1/drivers")
        return Settings(
            limits=self.backend.limits,
            detection=body["drivers"][0]["detection_seconds"],
            kept=self.backend.kept,
            linger=self.backend.linger,
            slack=slack,
            seed=self.seed,
        )

    def files(self) -> list[Path]:
        """Return the files of the history."""
        return sorted(self.directory.glob("*.jsonl"))

    # -- how it is made ------------------------------------------------------------------------

    def _way(self, source: str, target: str, ports: Sequence[int]) -> list[Proxy]:
        """Make a way to servers on these ports."""
        proxies = [self._stack.enter_context(Proxy(port)) for port in ports]
        self.ways[source, target] = proxies
        return proxies

    def _reach_backend(self, source: str) -> dict[str, str]:
        return self.backend.place(lambda ports: self._way(source, "backend", ports))

    def _reach_database(self, source: str) -> str:
        return self.database.reach(lambda ports: self._way(source, "database", ports))

    def _make_planes(self) -> None:
        backend = self.backend
        for name in PLANES:
            connection = self._reach_database(name)
            place = "\n".join(f"{n} = {at}" for n, at in self._reach_backend(name).items())
            plane = Plane(
                name,
                connection,
                self.directory,
                f"[{backend.name}]\n{place}\n{backend.settings}",
                self.lasting,
                servicegroup_driver=backend.name,
                **intervals(self.backend.limits),
            )
            self.planes.append(plane)
            self._stack.callback(plane.kill)
        self.planes[0].start(wait=False)
        for plane in self.planes[1:]:
            plane.start_only()
        for plane in self.planes:
            plane.wait()

    def _make_fleet(self) -> None:
        for site in SITES:
            planes = [(plane.name, plane.port) for plane in self.planes]
            addresses = [self._way(site, name, [port])[0].address for name, port in planes]
            if site == SITES[1]:
                addresses.reverse()  # so that each control plane hears of somebody first
            urls = ",".join(f"http://{address}" for address in addresses)
            own = {
                f"OS_{self.backend.name}__{option}".upper(): place
                for option, place in self._reach_backend(site).items()
            }
            self._make_site(site, {"SERVICEGROUP_URL": urls, **own})

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
