"""Questions whose answer is a few services of many, on PostgreSQL with driver db (F-51).

Which services are up is found by judging, so a page of those in a state may cost as much as the
whole list. Many such questions at once may take their time, but no report may wait for them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import register
from benchmarks.bare_server import bare_server
from benchmarks.measure import ask, get
from benchmarks.readers import seconds_of_all
from benchmarks.results import Claim, Section, ms
from servicegroup.agent.client import HttpClient
from servicegroup.messages import Report
from servicegroup.store import database

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from support.control_plane import ControlPlane

SIZE = 10_000
LIST = "/v1/services"
QUERIES = ("state=down&limit=1", "state=down&limit=10", "state=up&limit=1", "state=down", "limit=1")
AS_MUCH = 1.2
"""How many times the time of the whole list a page may take."""

AT_ONCE = 40
WAIT = 0.5
"""Seconds a report may wait beside so many questions at once."""

PAUSE = 0.05
"""Seconds between two reports."""

READERS = 50
EVERYBODY = "/v2.1/os-services"
AS_ONE = 4.0
"""How many times the time of one list all readers together may take."""


def run(bench: Bench) -> Iterator[Section]:
    """Time each question alone, and then reports beside many of the dearest."""
    url = bench.postgresql.database()
    bench.say(f"Questions to {SIZE:,} services ...")
    register.seed(url, SIZE)
    with register.control_plane(url, bench.directory) as plane:
        whole = _seconds(bench, plane, "", SIZE)
        alone = {query: _seconds(bench, plane, query, _found(query)) for query in QUERIES}
        reports, together = _beside(url, plane)
        url = f"{plane.url}{EVERYBODY}"
        one, all_readers = _readers(bench, url)
        size = len(get(url))
    with bare_server(size) as url:
        sent_one, sent_all = _readers(bench, url)
    dearest = alone[QUERIES[0]]
    yield Section(
        "Questions about a few",
        f"{SIZE:,} services, all of them up; {bench.requests} requests in a row, median time. Then"
        f" {AT_ONCE} clients that ask for `{QUERIES[0]}` at once, and beside them one agent that"
        f" reports every {ms(PAUSE)} until they have their answers.",
        [
            Claim(
                f"`{LIST}?{QUERIES[0]}`, {SIZE:,} services",
                f"{dearest / whole:.2f} times the whole list",
                f"{AS_MUCH} times",
                dearest <= AS_MUCH * whole,
            ),
            Claim(
                f"longest wait of a report beside {AT_ONCE} of them at once",
                ms(max(reports)),
                f"at most {ms(WAIT)}",
                max(reports) <= WAIT,
            ),
        ],
        ("question", "time", "of the whole list"),
        [
            (f"`{LIST}`", ms(whole), ""),
            *((f"`?{q}`", ms(took), f"{took / whole:.2f}") for q, took in alone.items()),
            (f"all {AT_ONCE} at once", ms(together), f"{together / whole:.2f}"),
        ],
    )
    yield Section(
        "Many readers at once",
        f"{SIZE:,} services; `GET {EVERYBODY}` by one client, median of {bench.requests}, and by"
        f" {READERS} that ask together, until each has the whole list, median of {bench.runs}. They"
        " are one thread with one buffer. Beside it the same bytes from a server that only sends"
        " them.",
        [
            Claim(
                f"{READERS} readers of `{EVERYBODY}`, {SIZE:,} services",
                f"{all_readers / one:.2f} times one list",
                f"{AS_ONE:g} times",
                all_readers <= AS_ONE * one,
            ),
        ],
        ("readers", "time", "of one list"),
        [
            ("1", ms(one), ""),
            (f"{READERS} at once", ms(all_readers), f"{all_readers / one:.2f}"),
            ("1, bytes alone", ms(sent_one), f"{sent_one / one:.2f}"),
            (f"{READERS} at once, bytes alone", ms(sent_all), f"{sent_all / one:.2f}"),
        ],
    )


def _found(query: str) -> int:
    return 0 if "state=down" in query else 1


def _seconds(bench: Bench, plane: ControlPlane, query: str, count: int) -> float:
    def check(body: bytes) -> None:
        found = len(json.loads(body)["services"])
        if found not in (count, count + 1):  # the control plane is a service too
            raise AssertionError(f"{query!r} found {found} services, not {count}")

    url = f"{plane.url}{LIST}?{query}"
    return ask(url, {"serve": plane.process.pid}, bench.requests, check).seconds


def _readers(bench: Bench, url: str) -> tuple[float, float]:
    """Return how long one reader waits, and the last of many that ask together."""
    size = len(get(url))
    one = median(seconds_of_all(url, 1, size) for _ in range(bench.requests))
    return one, median(seconds_of_all(url, READERS, size) for _ in range(bench.runs))


def _beside(url: str, plane: ControlPlane) -> tuple[list[float], float]:
    """Return how long each report waited while all questions were answered, and they took."""
    engine = database.connect(url)
    uuid = register.uuids(engine)[0]
    engine.dispose()
    answered = threading.Event()
    waits: list[float] = []

    def report() -> None:
        with closing(HttpClient(plane.url)) as client:
            client.timeout = 60.0
            while not answered.is_set():
                begun = time.perf_counter()
                client.report([Report(uuid, 1)])
                waits.append(time.perf_counter() - begun)
                answered.wait(PAUSE)

    def question(number: int) -> None:  # each another one, or they would share an answer
        ask(f"{plane.url}{LIST}?state=down&limit={1 + number}", {}, 1, lambda _: None)

    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        reporting = pool.submit(report)
        begun = time.perf_counter()
        try:
            list(pool.map(question, range(AT_ONCE)))
            together = time.perf_counter() - begun
        finally:
            answered.set()
        reporting.result()
    return waits, together
