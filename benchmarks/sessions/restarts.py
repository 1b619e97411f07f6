"""Control planes that are restarted in turn or killed, and HAProxy, under many sessions."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import register
from benchmarks.results import Claim, Section
from benchmarks.scale import accused, planes_of
from benchmarks.sessions import SESSION
from benchmarks.sessions.fleet import ended, held, holders_of
from servers.haproxy import HAProxy
from servicegroup.model import Limits
from support.control_plane import ControlPlane
from support.waiting import until
from support.watcher import Watcher

if TYPE_CHECKING:
    from benchmarks.bench import Bench

ELSEWHERE = 5.0
"""Seconds until every session is open again."""

_PASSED = 9_000
"""Connections that HAProxy passes at once, so that its files fit in 20,000.

Who is asked to go opens a session before it gives up the former one: two of an agent for a moment.
"""

SETTLED = Limits().membership_ttl + 5.0
"""Seconds after which whoever is to be accused of something is."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure agents that know both control planes, and agents that know HAProxy."""
    count = 500 if bench.quick else 5_000
    rows: list[tuple[str, ...]] = []
    claims: list[Claim] = []
    for way in ("the agents' lists", "HAProxy"):
        if way == "HAProxy" and not HAProxy.installed():
            continue
        bench.say(f"Restarts under {count:,} sessions, by {way} ...")
        took, down, without = _measured(bench, count, by_proxy=way == "HAProxy")
        worst = max(took.values())
        rows += [(way, what, f"{seconds:.2f} s", "") for what, seconds in took.items()]
        rows.append((way, "most time of an agent without", f"{without:.2f} s", ""))
        claims += [
            Claim(f"restarts and `kill -9` under {count:,} sessions, by {way}, services ever down",
                  str(len(down)), "none", not down),
            Claim(f"the same, by {way}, until all sessions are elsewhere", f"{worst:.2f} s",
                  f"≤ {ELSEWHERE:g} s", worst <= ELSEWHERE),
        ]  # fmt: skip
    yield Section(
        "Restarts under sessions",
        f"{count:,} agents with a session each on two control planes and PostgreSQL, with no other"
        " option set. Each control plane is stopped in order and started again, then the one that"
        " has all sessions is killed, and HAProxy, where there is one, restarted. The time is from"
        " the signal until the others hold every session. Both of them list all services every"
        " second.",
        claims,
        ("by", "what", "all elsewhere after", ""),
        rows,
    )


def _measured(
    bench: Bench, count: int, *, by_proxy: bool
) -> tuple[dict[str, float], set[str], float]:
    """Return the seconds until all were elsewhere, who was down, and the longest time without."""
    took: dict[str, float] = {}
    with ExitStack() as stack:
        planes = stack.enter_context(planes_of(bench, count, 2, **SESSION))
        ports = [plane.port for plane in planes]
        proxy = (
            stack.enter_context(HAProxy(ports, min(2 * count, _PASSED) + 100)) if by_proxy else None
        )
        addresses = [proxy.port] if proxy else ports
        agents = stack.enter_context(holders_of(bench, planes[0], addresses))
        watchers = [
            stack.enter_context(Watcher(plane, register.BINARY, count, 1.0)) for plane in planes
        ]
        for number, plane in enumerate(planes):
            other = planes[1 - number]
            stop = partial(plane.process.send_signal, signal.SIGTERM)
            took[f"control plane {number + 1} restarts"] = _until_at(count, stop, other)
            plane.stop()
            plane.start()
        took["control plane 1 is killed"] = _until_at(count, planes[0].kill, planes[1])
        planes[0].start()
        if proxy:
            took["HAProxy restarts"] = _until_at(count, proxy.restart, *planes)
        time.sleep(SETTLED)
        went = ended(agents)
        down = accused(planes)
    return took, down.union(*(flip for w in watchers for _, flip in w.flips)), went.longest_gap


def _until_at(count: int, happens: Callable[[], object], *planes: ControlPlane) -> float:
    """Return the seconds from what happens until these control planes hold so many sessions.

    They are asked once so many are connected: a scrape judges everybody, which takes the time of
    a hundred sessions.
    """

    def all_are_there() -> bool:
        return sum(map(_open_files, planes)) >= count and sum(map(held, planes)) >= count

    begun = time.monotonic()
    happens()
    until(all_are_there, 60, 0.1, "all sessions elsewhere")
    return time.monotonic() - begun


def _open_files(plane: ControlPlane) -> int:
    """Return how many files a control plane has open, a few more than it has connections.

    The kernel's list of all connections would take half a core to read, of the two that there are.
    """
    with os.scandir(f"/proc/{plane.process.pid}/fd") as files:
        return sum(1 for _ in files)
