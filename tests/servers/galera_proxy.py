"""HAProxy before the nodes of a cluster, by the lines that the documentation has for it."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from docs.pages import page
from servers.haproxy import HAProxy
from servers.process import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers.galera import GaleraNode

CHECKER = "haproxy"
"""The user whom HAProxy's check logs in as."""


def documented() -> str:
    """Return the lines of the page, as they stand there."""
    blocks = [
        b.text for b in page("docs/deploying.md").blocks if b.text.startswith("listen galera")
    ]
    assert len(blocks) == 1
    return blocks[0]


class GaleraProxy(HAProxy):
    """One address before the nodes, which has a check of its own for each."""

    def __init__(self, nodes: Sequence[GaleraNode]) -> None:
        super().__init__([node.port for node in nodes])

    def prepare(self) -> None:
        ports = iter(self.planes)
        text = documented().replace("127.0.0.1:3306", self.address)
        text = re.sub(r"192\.0\.2\.\d+:3306", lambda _: f"{LOOPBACK}:{next(ports)}", text)
        self.configuration.write_text(f"global\n    maxconn 1000\n\n{text}\n")
        self.check(self.configuration)

    def answers(self) -> bool:
        """Tell whether it has a node that greets us."""
        with socket.create_connection((LOOPBACK, self.port), timeout=5) as connection:
            connection.settimeout(1)
            return bool(connection.recv(1))
