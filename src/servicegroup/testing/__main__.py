"""A member as a process: it joins, heartbeats until it is killed, and never leaves in order.

``python -m servicegroup.testing DRIVER OPTIONS_JSON GROUP HOST INCARNATION TTL``

DRIVER is the name of an installed driver or ``module:Class``. A heartbeat is sent every third of
TTL seconds; a backend that is away is tried again. It ends when its standard input is closed, so
that it does not outlive the tests that started it.
"""

from __future__ import annotations

import contextlib
import pkgutil
import select
import sys

import msgspec

from servicegroup.driver import Driver, driver_class
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member


def _driver(name: str) -> type[Driver]:
    if ":" not in name:
        return driver_class(name)
    found: type[Driver] = pkgutil.resolve_name(name)
    return found


def main(driver: str, options: str, group: str, host: str, incarnation: str, ttl: str) -> None:
    """Keep the member present until killed or until standard input ends."""
    handle = _driver(driver).from_options(msgspec.json.decode(options))
    lifetime = float(ttl)
    ended = False
    while not ended:
        with contextlib.suppress(DriverUnavailable):
            handle.heartbeat(Member(group, host), int(incarnation), lifetime)
        ended = bool(select.select([sys.stdin], [], [], lifetime / 3)[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
