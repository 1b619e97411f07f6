"""A ZooKeeper server of the tests' own, and three of them that elect a leader."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from servers.process import LOOPBACK, PATIENCE, Ensemble, Server, ask, free_port
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

JAR = Path("/usr/share/java/zookeeper.jar")
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
# Quick to start and small: the tests have several of them at once. The JVM's own figures would be
# a mapped file in /tmp, whose disk could make every thread wait.
JVM = (
    *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx512m"),
    "-XX:-UsePerfData",
)


class ZooKeeper(Server):
    """A server from Debian's jar; `tick_time` is in milliseconds, `settings` are zoo.cfg's own.

    `properties` are the JVM's: some of ZooKeeper's settings are nowhere else.
    A session lasts between two and twenty ticks.
    """

    name = "zookeeper"
    package = "zookeeper"

    def __init__(
        self,
        tick_time: int = 500,
        settings: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.properties = [f"-D{name}={value}" for name, value in (properties or {}).items()]
        self.settings = {
            "tickTime": str(tick_time),
            "dataDir": str(self.directory / "data"),
            "clientPort": str(self.port),
            "clientPortAddress": LOOPBACK,
            "maxClientCnxns": "0",
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            "initLimit": "20",
            "syncLimit": "10",
            **(settings or {}),
        }
        self.number: int | None = None

    @classmethod
    def installed(cls) -> bool:
        return JAR.exists() and shutil.which("java") is not None

    def mode(self) -> str:
        """Return standalone, leader or follower. Raises OSError when the server cannot say."""
        for line in ask(self.port, b"srvr").decode().splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ")
        raise OSError(f"{self.name} on port {self.port} serves nobody now")

    def empty(self) -> None:
        """Lose the disk, and start again without it."""
        self.kill()
        shutil.rmtree(self.directory / "data" / "version-2")
        self.start()

    def prepare(self) -> None:
        (self.directory / "data").mkdir()
        if self.number is not None:
            (self.directory / "data" / "myid").write_text(f"{self.number}\n")
        text = "".join(f"{name}={value}\n" for name, value in self.settings.items())
        (self.directory / "zoo.cfg").write_text(text)

    def command(self) -> Sequence[str | Path]:
        return ["java", *JVM, *self.properties, "-cp", str(JAR), MAIN, self.directory / "zoo.cfg"]

    def answers(self) -> bool:
        return bool(self.mode())


class ZooKeeperEnsemble(Ensemble[ZooKeeper]):
    """Three servers, which serve while two of them can talk to each other."""

    def __init__(self, make: Callable[[], ZooKeeper] = ZooKeeper) -> None:
        """Make each of them with ``make``."""
        super().__init__([make() for _ in range(3)])
        peers = {
            f"server.{number}": f"{LOOPBACK}:{free_port()}:{free_port()}" for number in (1, 2, 3)
        }
        for number, server in enumerate(self.servers, start=1):
            server.number = number
            server.settings |= peers

    def leader(self, timeout: float = PATIENCE) -> ZooKeeper:
        """Return the server that leads, waiting up to `timeout` seconds for an election."""
        return until(self._leader, timeout, what="the ensemble has a leader")

    def followers(self) -> list[ZooKeeper]:
        """Return the servers that follow the leader now."""
        return [server for server in self.servers if self._mode(server) == "follower"]

    def _leader(self) -> ZooKeeper | None:
        leaders = (server for server in self.servers if self._mode(server) == "leader")
        return next(leaders, None)

    @staticmethod
    def _mode(server: ZooKeeper) -> str:
        try:
            return server.mode()
        except OSError:
            return ""
