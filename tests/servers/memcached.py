"""A memcached server of the tests' own; it forgets everything when it ends."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from servers.process import LOOPBACK, Server, ask, unprivileged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Memcached(Server):
    """A server with `memory` MiB for items and further arguments of its own."""

    name = "memcached"
    package = "memcached"

    def __init__(self, memory: int = 64, arguments: Sequence[str] = ()) -> None:
        super().__init__()
        self.user = unprivileged("memcache", "nobody")
        self.memory = memory
        self.arguments = tuple(arguments)

    @classmethod
    def installed(cls) -> bool:
        return shutil.which("memcached") is not None

    def command(self) -> Sequence[str | Path]:
        network = ["-l", LOOPBACK, "-p", str(self.port), "-U", "0"]
        return ["memcached", *network, "-m", str(self.memory), *self.arguments]

    def answers(self) -> bool:
        return ask(self.port, b"version\r\n", b"\r\n").startswith(b"VERSION ")
