"""Crowds of clients: what the next one costs, and how soon those that hang up are forgotten.

Loopback is the control plane's own host, which is not limited, so clients with an address each are
counted in process, by the object that every connection asks. Those that hang up are real.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
import time
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import register
from benchmarks.following import is_observed, resident
from benchmarks.results import Claim, Section, ms, us
from servicegroup.controlplane.clients import ClientQuota, Clients
from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.waiting import until

if TYPE_CHECKING:
    from benchmarks.bench import Bench

FEW, MANY = 1_000, 30_000
"""Clients that are known already."""

COUNTED = 1_000
"""Connections that are timed together."""

COST = 50e-6
"""Seconds of the event loop that a new client may cost, however many are known."""

FOLLOWERS = 10_000
"""As many as one process may have."""

AWAY = 1.0
"""Seconds within which the places of those that hung up are free."""

_OTHER_FILES = 512


def run(bench: Bench) -> Iterator[Section]:
    """Measure what clients cost when they come, and when they go."""
    yield _coming(bench)
    yield _going(bench)


# -- new clients ---------------------------------------------------------------------------------


def _coming(bench: Bench) -> Section:
    bench.say(f"{MANY:,} clients ...")
    rows, worst = [], 0.0
    for stay in (True, False):
        timed = [_timed(stay=stay) for _ in range(bench.runs)]
        few, many = (median(times) for times in zip(*timed, strict=True))
        worst = max(worst, many)
        rows.append(("stay" if stay else "leave", us(few), us(many), f"{many / few:.1f}"))
    return Section(
        "New clients",
        "Clients with an address each, made up, in process: the time until the limits have let one"
        f" in, mean of {COUNTED:,}, median of {bench.runs} runs. They stay connected, or leave at"
        " once and are remembered while there is something to remember.",
        [Claim(f"a new client, {MANY:,} known", us(worst), f"≤ {us(COST)}", worst <= COST)],
        ("they", f"{FEW:,} known", f"{MANY:,} known", "ratio"),
        rows,
    )


def _timed(*, stay: bool) -> tuple[float, float]:
    """Return the mean seconds a client takes after the first few, and after many."""
    clients = Clients(rate=200.0, each=2_000)
    _connect(clients, 0, FEW, stay=stay)
    few = _connect(clients, FEW, FEW + COUNTED, stay=stay)
    _connect(clients, FEW + COUNTED, MANY, stay=stay)
    return few, _connect(clients, MANY, MANY + COUNTED, stay=stay)


def _connect(clients: Clients, first: int, last: int, *, stay: bool) -> float:
    addresses = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(first, last)]
    now = time.monotonic()
    begun = time.perf_counter()
    for address in addresses:
        client = clients.connect(None, address, now)
        assert isinstance(client, ClientQuota)
        client.wait(now)
        if not stay:
            clients.disconnect(client)
    return (time.perf_counter() - begun) / len(addresses)


# -- followers that hang up ----------------------------------------------------------------------


def _going(bench: Bench) -> Section:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES
    count = min(500 if bench.quick else FOLLOWERS, allowed)
    url = bench.postgresql.database()
    register.seed(url, 100)
    rows, slowest = [], 0.0
    with register.control_plane(url, bench.directory) as plane:
        until(partial(is_observed, plane), timeout=60, what="an observer at work")
        for path in ("/v1/events?wait=60", "/v1/events/stream?"):
            for way in ("FIN", "RST"):
                bench.say(f"{count:,} followers of {path} hang up by {way} ...")
                before = resident(plane.process.pid)
                lines = asyncio.run(_following(plane, path, count))
                until(partial(_follow, plane, count), 60, 0.2, "all of them follow")
                during = resident(plane.process.pid)
                seconds = _hang_up(plane, lines, way)
                slowest = max(slowest, seconds)
                after = resident(plane.process.pid)
                rows.append(
                    (path.rstrip("?"), way, ms(seconds), *map(_mib, (before, during, after)))
                )
    return Section(
        "Followers that hang up",
        f"{count:,} connections that wait for events, closed one after another without a word. The"
        " time is from the last close until `servicegroup_followers` is 0, with the scrape that"
        " says so. They follow one another, so each row's places were free.",
        [Claim(f"{count:,} followers hang up, their places are free after", ms(slowest),
               f"≤ {ms(AWAY)}", slowest <= AWAY)],
        ("path", "closed by", "places free", "memory before", "while they wait", "after"),
        rows,
    )  # fmt: skip


async def _following(plane: ControlPlane, path: str, count: int) -> list[socket.socket]:
    """Return so many connections, each with its question sent."""
    last = plane.request("GET", "/v1/events")[2]["last"]
    question = f"GET {path}&after={last} HTTP/1.1\r\nHost: benchmark\r\n\r\n".encode()
    loop, lines = asyncio.get_running_loop(), []
    for _ in range(count):
        line = socket.socket()
        line.setblocking(False)
        await loop.sock_connect(line, ("127.0.0.1", plane.port))
        await loop.sock_sendall(line, question)
        lines.append(line)
    return lines


def _hang_up(plane: ControlPlane, lines: list[socket.socket], way: str) -> float:
    """Close all and return the seconds until nobody follows."""
    for line in lines:
        if way == "RST":
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()
    begun = time.perf_counter()
    until(partial(_follow, plane, 0), 120, 0.01, "nobody follows")
    return time.perf_counter() - begun


def _follow(plane: ControlPlane, count: int) -> bool:
    return Scrape.of(plane).total("followers") == count


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
