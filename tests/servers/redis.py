"""Redis servers of the tests' own, alone and with sentinels; `valkey-server` where there is one.

What was written outlives a kill -9 and a restart.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

from servers.process import LOOPBACK, Ensemble, Server, ask
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PRIMARY = "mymaster"
"""The name that sentinels watch the primary by."""

NOTICED = 1.0
"""Seconds until a sentinel takes a server that does not answer for down."""


def program() -> str | None:
    """Return the server's program: Redis, or Valkey, which speaks the same."""
    return next(filter(shutil.which, ("redis-server", "valkey-server")), None)


class Redis(Server):
    """A server that appends every write to a file; further `arguments` are redis-server's own.

    Others reach it on the port ``announced``, which may be a proxy's. What sentinels tell it to be
    it writes into its configuration, and is after a restart too; ``lines`` are that file's first.
    """

    name = "redis"
    package = "redis-server"
    # A replica that has just copied all forgets a SIGTERM: it cannot end before its log is made.
    stop_again = 1.0

    def __init__(
        self, arguments: Sequence[str] = (), announced: int = 0, lines: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.arguments = tuple(arguments)
        self.announced = announced or self.port
        self.lines = list(lines)

    @classmethod
    def installed(cls) -> bool:
        return program() is not None

    @property
    def url(self) -> str:
        """Where the server's first database is."""
        return f"redis://{self.address}/0"

    def prepare(self) -> None:
        self.file.write_text("\n".join([*self.lines, ""]))

    @property
    def file(self) -> Path:
        """Its configuration, beside the command line."""
        return self.directory / "redis.conf"

    def command(self) -> Sequence[str | Path]:
        network = ["--bind", LOOPBACK, "--port", str(self.port)]
        network += ["--replica-announce-ip", LOOPBACK]
        network += ["--replica-announce-port", str(self.announced)]
        data = ["--dir", str(self.directory), "--save", "", "--appendonly", "yes"]
        return [program() or "redis-server", self.file, *network, *data, *self.arguments]

    def answers(self) -> bool:
        return ask(self.port, b"PING\r\n", b"\r\n") == b"+PONG\r\n"  # while loading: -LOADING

    def tell(self, command: str) -> bytes:
        """Give a command by hand and return the answer as it came."""
        answer = ask(self.port, command.encode() + b"\r\nQUIT\r\n")
        return answer.removesuffix(b"+OK\r\n")


class RedisSentinel(Redis):
    """A sentinel that watches one primary; `settings` are further lines of its file."""

    def __init__(self, primary: Redis, quorum: int = 2, settings: Sequence[str] = ()) -> None:
        super().__init__()
        self.lines = [
            *("daemonize no", 'save ""'),
            f"sentinel monitor {PRIMARY} {LOOPBACK} {primary.announced} {quorum}",
            f"sentinel down-after-milliseconds {PRIMARY} {int(NOTICED * 1000)}",
            f"sentinel failover-timeout {PRIMARY} 5000",
            *settings,
        ]

    def command(self) -> Sequence[str | Path]:
        network = ["--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self.directory)]
        return [program() or "redis-server", self.file, *network, "--sentinel"]

    def tell(self, command: str) -> bytes:
        """Give a command by hand; a sentinel does not know QUIT."""
        return ask(self.port, command.encode() + b"\r\nPING\r\n", b"+PONG").partition(b"+PONG")[0]


class RedisWithSentinels(Ensemble[Redis]):
    """A primary and two replicas, watched by three sentinels of which two are a quorum.

    ``announced`` are the ports on which the servers are reached by everybody, if not their own.
    """

    def __init__(
        self,
        arguments: Sequence[str] = (),
        settings: Sequence[str] = (),
        announced: Sequence[int] = (0, 0, 0),
    ) -> None:
        first = Redis(arguments, announced[0])
        follow = [f"replicaof {LOOPBACK} {first.announced}"]
        self.redis = (first, *(Redis(arguments, port, follow) for port in announced[1:]))
        self.sentinels = [RedisSentinel(first, settings=settings) for _ in range(3)]
        super().__init__([*self.redis, *self.sentinels])

    @property
    def url(self) -> str:
        """Where the primary is, as the sentinels say."""
        hosts = ",".join(sentinel.address for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{PRIMARY}"

    def start(self) -> None:
        """Start, and return when every sentinel knows all others and all replicas."""
        super().start()
        for sentinel in self.sentinels:
            until(partial(self._knows_all, sentinel), 30, what="the sentinels know one another")

    def primary(self) -> Redis:
        """Return the server that the sentinels call the primary."""
        asked = next(one for one in self.sentinels if one.running)
        port = int(asked.tell(f"SENTINEL GET-MASTER-ADDR-BY-NAME {PRIMARY}").split()[-1])
        return next(one for one in self.redis if one.announced == port)

    def settled(self) -> Redis | None:
        """Return the primary that all sentinels name and all servers follow; None before that."""
        try:
            named = [_fields(sentinel) for sentinel in self.sentinels]
            primary = self.primary()
            port = b"%d" % primary.announced
            agreed = all((it[b"port"], it[b"flags"]) == (port, b"master") for it in named)
            if not agreed or b"role:master" not in primary.tell("INFO replication"):
                return None
            replicas = (one for one in self.redis if one is not primary)
            return primary if all(_follows(one, port) for one in replicas) else None
        except (OSError, LookupError, ValueError):
            return None  # somebody is away, or says what it says while it starts

    @staticmethod
    def _knows_all(sentinel: RedisSentinel) -> bool:
        usable = sentinel.tell(f"SENTINEL CKQUORUM {PRIMARY}").startswith(b"+OK 3 usable")
        return usable and _fields(sentinel).get(b"num-slaves") == b"2"


def _fields(sentinel: RedisSentinel) -> dict[bytes, bytes]:
    """Return what a sentinel knows of the primary."""
    known = sentinel.tell(f"SENTINEL MASTER {PRIMARY}").split(b"\r\n")
    return dict(zip(known[2::4], known[4::4], strict=False))


def _follows(replica: Redis, port: bytes) -> bool:
    found = replica.tell("INFO replication").split(b"\r\n")
    return {b"role:slave", b"master_port:" + port, b"master_link_status:up"} <= set(found)
