"""Which connections to a port of this machine a process has, as the kernel tells."""

from __future__ import annotations

import re
from pathlib import Path

ESTABLISHED = "01"

_SOCKET = re.compile(r"socket:\[(\d+)\]")


def connections(pid: int, port: int) -> frozenset[int]:
    """Return the connections to the port that are open, by the numbers of their sockets.

    Processes that share a connection across a fork have the same number. A process that is gone
    has none.
    """
    try:
        table = Path(f"/proc/{pid}/net/tcp").read_text() + Path(f"/proc/{pid}/net/tcp6").read_text()
        descriptors = [*Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return frozenset()
    found = {row[9] for row in map(str.split, table.splitlines()) if _leads_to(port, row)}
    own = (_SOCKET.fullmatch(_target(descriptor)) for descriptor in descriptors)
    return frozenset(int(each[1]) for each in own if each and each[1] in found)


def _leads_to(port: int, row: list[str]) -> bool:
    remote, state = row[2], row[3]
    return state == ESTABLISHED and int(remote.rpartition(":")[2], 16) == port


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""
