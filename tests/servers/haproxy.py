"""HAProxy as contrib has it, before control planes of the tests' own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from servers.process import LOOPBACK, Server, ServerError, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLE = Path(__file__).parents[2] / "contrib" / "haproxy" / "haproxy.cfg"


class HAProxy(Server):
    """One address before control planes on loopback ports, for so many connections.

    It asks ``/readyz`` by ``method``, and goes by further ``rules`` for all requests.
    """

    name = "haproxy"
    package = "haproxy"

    def __init__(
        self,
        planes: Sequence[int],
        connections: int = 1_000,
        *,
        method: str = "GET",
        rules: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.planes = tuple(planes)
        self.connections = connections
        self.method = method
        self.rules = tuple(rules)

    @classmethod
    def installed(cls) -> bool:
        return shutil.which("haproxy") is not None

    @staticmethod
    def check(configuration: Path) -> str:
        """Return what HAProxy has to say of a configuration. Raises ServerError if it is wrong."""
        command = ["haproxy", "-c", "-f", str(configuration)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise ServerError(done.stderr)
        return done.stdout + done.stderr

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def prepare(self) -> None:
        text = SAMPLE.read_text().replace("bind :8774", f"bind {self.address}")
        text = text.replace("maxconn 40000", f"maxconn {self.connections}")
        text = text.replace("httpchk GET", f"httpchk {self.method}")
        shown, _, _ = re.split(r"^( +server cp1.*)", text, maxsplit=1, flags=re.MULTILINE)
        servers = [f"    server cp{n} {LOOPBACK}:{port}" for n, port in enumerate(self.planes, 1)]
        rules = [f"    {rule}" for rule in self.rules]
        self.configuration.write_text("\n".join([shown.rstrip(), *rules, *servers, ""]))
        self.check(self.configuration)

    @property
    def configuration(self) -> Path:
        """The sample with the tests' addresses in it."""
        return self.directory / "haproxy.cfg"

    def command(self) -> Sequence[str | Path]:
        return ["haproxy", "-db", "-f", self.configuration]

    def answers(self) -> bool:
        return b" 200 " in ask(self.port, b"GET /readyz HTTP/1.0\r\n\r\n", b"\r\n")
