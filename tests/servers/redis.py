"""A Redis server of the tests' own; what was written outlives a kill -9 and a restart."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from servers.process import LOOPBACK, Server, ask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Redis(Server):
    """A server that appends every write to a file; further `arguments` are redis-server's own."""

    name = "redis"
    package = "redis-server"

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        super().__init__()
        self.arguments = tuple(arguments)

    @classmethod
    def installed(cls) -> bool:
        return shutil.which("redis-server") is not None

    @property
    def url(self) -> str:
        """Where the server's first database is."""
        return f"redis://{self.address}/0"

    def command(self) -> Sequence[str | Path]:
        network = ["--bind", LOOPBACK, "--port", str(self.port)]
        data = ["--dir", str(self.directory), "--save", "", "--appendonly", "yes"]
        return ["redis-server", *network, *data, *self.arguments]

    def answers(self) -> bool:
        return ask(self.port, b"PING\r\n", b"\r\n") == b"+PONG\r\n"  # while loading: -LOADING
