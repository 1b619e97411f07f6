"""twemproxy before memcached servers, with what operators set so that a dead one is passed over."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from servers.process import LOOPBACK, Server, ask, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from servers.memcached import Memcached

SETTINGS = """\
pool:
  listen: {listen}
  hash: fnv1a_64
  distribution: ketama
  timeout: 400
  auto_eject_hosts: true
  server_retry_timeout: 2000
  server_failure_limit: 1
  servers:
"""


class Twemproxy(Server):
    """A proxy that shares keys out to ``servers``."""

    name = "twemproxy"
    package = "nutcracker"

    def __init__(self, servers: Sequence[Memcached]) -> None:
        super().__init__()
        self.servers = tuple(servers)
        self.statistics = free_port()

    @classmethod
    def installed(cls) -> bool:
        return shutil.which("nutcracker") is not None

    def prepare(self) -> None:
        lines = "".join(f"   - {server.address}:1\n" for server in self.servers)
        text = SETTINGS.format(listen=self.address) + lines
        (self.directory / "nutcracker.yml").write_text(text)

    def command(self) -> Sequence[str | Path]:
        statistics = ["-s", str(self.statistics), "-a", LOOPBACK]
        return ["nutcracker", "-c", self.directory / "nutcracker.yml", *statistics]

    def answers(self) -> bool:
        return ask(self.port, b"version\r\n", b"\r\n").startswith(b"VERSION ")
