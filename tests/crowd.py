"""Many services in one process, joined as a library user joins: ``crowd.py URL COUNT``."""

from __future__ import annotations

import signal
import sys

import servicegroup

BINARY = "crowd-worker"


def main() -> None:
    """Join, and stay until told to stop."""
    url, count = sys.argv[1], int(sys.argv[2])
    members = [servicegroup.join(BINARY, host=f"c{n}", url=url) for n in range(count)]
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.pause()
    for member in members:
        member.leave()


if __name__ == "__main__":
    main()
