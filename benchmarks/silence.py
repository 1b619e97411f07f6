"""What a backend that does not answer costs: lists, reports and the observer, beside an answer.

Eight groups of a thousand members in one Redis, which is then frozen. The same control plane is
asked before and after, and takes a thousand reports a second beside ten lists a second (F-18).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import urllib3
from msgspec import Struct

from benchmarks import register
from benchmarks.measure import ask
from benchmarks.pace import Paced
from benchmarks.results import Claim, Section, ms
from benchmarks.scale import agents_of, ended
from servers.redis import Redis
from servicegroup import driver
from servicegroup.model import Limits, Member
from servicegroup.store import database
from servicegroup.store.lease import observer_status
from support.control_plane import ControlPlane
from support.waiting import until

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from benchmarks.bench import Bench

GROUPS = 8
MEMBERS = 1_000
BINARIES = (register.BINARY, *(f"worker-{number}" for number in range(1, GROUPS)))
TTL = 600.0
"""Seconds; long, so that nobody has to heartbeat while lists are timed."""

LIMITS = Limits(report_interval=1, service_down_time=3600)
"""Each of a thousand agents reports once a second."""

PATH = "/v2.1/os-services"
AS_MUCH = 1.5
"""How many times its time with an answer a list may take."""

RATE = 10
"""Lists a second that are asked for beside the reports."""

WAIT = 0.5
"""Seconds a report may wait."""

LOOK = 2.0
"""Seconds that may have passed since the observer looked, which it does once a second."""


class Measured(Struct, frozen=True):
    """A list alone, in seconds, and what happened while lists were asked for beside reports."""

    alone: float
    paced: Paced
    refused: int
    """Lists that were not answered 200."""
    lag: float
    """The most seconds since the observer had looked."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure on PostgreSQL and on SQLite."""
    if not Redis.installed():
        return
    claims: list[Claim] = []
    rows: list[tuple[str, ...]] = []
    urls = {
        "PostgreSQL": bench.postgresql.database(),
        "SQLite": f"sqlite:///{bench.directory / 'silence.sqlite'}",
    }
    for name, url in urls.items():
        bench.say(f"A silent backend, {name} ...")
        with Redis() as server:
            found = _measured(bench, url, server)
        claims += _claims(name, **found)
        rows += [(f"{name}, {how}", *_row(one)) for how, one in found.items()]
    yield Section(
        "A backend that does not answer",
        f"{GROUPS} groups of {MEMBERS:,} services that are present in Redis. `GET {PATH}`"
        f" {bench.requests} times in a row, median; then {MEMBERS:,} reports a second beside {RATE}"
        f" such lists a second for {bench.seconds:g} s. All of that while Redis answers, and once"
        " more while it is frozen.",
        claims,
        ("", "list", "a report waits", "at most", "refused", "since a look, at most"),
        rows,
    )


def _row(found: Measured) -> tuple[str, ...]:
    waits = sorted(found.paced.waits)
    refused = str(found.paced.failed + found.refused)
    return (ms(found.alone), ms(waits[len(waits) // 2]), ms(waits[-1]), refused,
            f"{found.lag:.1f} s")  # fmt: skip


def _claims(name: str, answering: Measured, frozen: Measured) -> Iterator[Claim]:
    longest, refused = max(frozen.paced.waits), frozen.paced.failed + frozen.refused
    yield Claim(
        f"`GET /os-services` with a frozen backend, {name}",
        f"{frozen.alone / answering.alone:.2f} times one that answers",
        f"{AS_MUCH} times",
        frozen.alone <= AS_MUCH * answering.alone,
    )
    what = f"beside {RATE} lists a second with a frozen backend, {name}"
    yield Claim(f"longest wait of a report {what}", ms(longest), f"≤ {ms(WAIT)}", longest <= WAIT)
    yield Claim(f"reports and lists refused {what}", str(refused), "none", not refused)
    yield Claim(f"since a look {what}", f"{frozen.lag:.1f} s", f"≤ {LOOK:g} s", frozen.lag <= LOOK)


def _measured(bench: Bench, url: str, server: Redis) -> dict[str, Measured]:
    """Return what was measured while the server was ``answering``, and while it was ``frozen``."""
    register.seed(url, GROUPS * MEMBERS, BINARIES)
    engine = database.connect(url)
    plane = ControlPlane(url, bench.directory)
    plane.configure(
        f"[redis]\nurl = {server.url}\n",
        servicegroup_driver="redis",
        membership_ttl=TTL,
        service_down_time=LIMITS.service_down_time,
        report_interval=LIMITS.report_interval,
    )
    _join(server)
    found = {}
    try:
        plane.start()
        for name, reason in (("answering", "present"), ("frozen", "unconfirmed")):
            if name == "frozen":
                server.freeze()
            until(partial(_all_are, plane, reason), timeout=60, interval=0.5)
            alone = _seconds(bench, plane)
            with agents_of(bench, plane, [plane.port], LIMITS.report_interval) as agents:
                refused, lag = _lists(bench, plane, engine)
                found[name] = Measured(alone, ended(agents), refused, lag)
        return found
    finally:
        server.thaw()
        plane.stop()
        engine.dispose()


def _join(server: Redis) -> None:
    """Have everybody present."""
    handle = driver.load("redis", {"url": server.url})
    for number in range(1, GROUPS * MEMBERS + 1):
        topic = BINARIES[number % GROUPS].removeprefix("nova-")
        handle.heartbeat(Member(topic, register.host(number)), 1, TTL)
    handle.close()


def _all_are(plane: ControlPlane, reason: str) -> bool:
    found = plane.services().values()
    return {s["verdict"]["reason"] for s in found if s["binary"] in BINARIES} == {reason}


def _seconds(bench: Bench, plane: ControlPlane) -> float:
    def check(body: bytes) -> None:
        found = body.count(b'"binary"')
        if found < GROUPS * MEMBERS:
            raise AssertionError(f"{found} services were listed")

    return ask(plane.url + PATH, {}, bench.requests, check).seconds


def _lists(bench: Bench, plane: ControlPlane, engine: Engine) -> tuple[int, float]:
    """Ask for lists for a while; return how many were refused, and the observer's longest lag."""
    http = urllib3.PoolManager(maxsize=RATE, retries=False, timeout=urllib3.Timeout(60))
    lags = []
    with ThreadPoolExecutor(5 * RATE) as threads:
        begun, asked = time.monotonic(), []
        for number in range(int(RATE * bench.seconds)):
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            asked.append(threads.submit(http.request, "GET", plane.url + PATH))
            status = observer_status(engine)
            lags.append(status.age if status else float("inf"))
        refused = sum(one.result().status != 200 for one in asked)
    return refused, max(lags)
