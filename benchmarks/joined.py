"""Run by a build as a script: makes services members by its own driver until its input ends."""

from __future__ import annotations

import sys

from servicegroup import config
from servicegroup.driver import load
from servicegroup.model import Member

JOINED = "joined"
"""What is said when all are members."""


def main(config_file: str, group: str, incarnation: int, ttl: float) -> None:
    """Have the hosts that are read from the first line of the input present."""
    choice = config.load(config_file).driver
    driver = load(choice.name, choice.options)
    for host in sys.stdin.readline().split():
        driver.heartbeat(Member(group, host), incarnation, ttl)
    print(JOINED, flush=True)
    sys.stdin.read()
    driver.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
