"""Witnesses: they ask every control plane by every interface while the storm rages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from nemesis.world import Plane, World
from promises.following import Follower
from promises.history import LOG, Seen
from promises.witness import AWAY, INTERFACES
from servicegroup.events import Page

PAUSES = {"v1": 0.2, "os-services": 0.5, "sdk": 5.0, "cli": 20.0, "cli --url": 20.0}
"""Seconds between two questions by an interface; a command is a process each time."""

EVENTS_PAUSE = 0.2


class Work(NamedTuple):
    """What a witness does again and again, with so many seconds between."""

    look: Callable[[], None]
    pause: float


@contextmanager
def watching(world: World) -> Iterator[None]:
    """Ask meanwhile. Raises what went wrong with a witness."""
    stop = threading.Event()

    def repeat(work: Work) -> None:
        while not stop.wait(work.pause):
            try:
                work.look()
            except AWAY:
                continue

    works = [work for plane in world.planes for work in _works(world, plane)]
    with ThreadPoolExecutor(len(works)) as hands:
        done = [hands.submit(repeat, work) for work in works]
        try:
            yield
        finally:
            stop.set()
        for one in done:
            one.result()


def _works(world: World, plane: Plane) -> Iterator[Work]:
    yield Work(_Reader(world, plane).look, EVENTS_PAUSE)
    for interface, pause in PAUSES.items():
        yield Work(_Lister(world, plane, interface).look, pause)


class _Lister:
    """Lists all services by one interface."""

    def __init__(self, world: World, plane: Plane, interface: str) -> None:
        self._record = world.record
        self._plane = plane
        self._interface = interface

    def look(self) -> None:
        asked = time.monotonic()
        services = INTERFACES[self._interface](self._plane)
        self._record(
            Seen(
                interface=self._interface,
                plane=self._plane.url,
                asked=asked,
                answered=time.monotonic(),
                services=services,
            )
        )


class _Reader:
    """Reads the events, from those that happen after its first question on."""

    def __init__(self, world: World, plane: Plane) -> None:
        self._record = world.record
        self._plane = plane
        self._follower: Follower | None = None
        self._place = 0

    def look(self) -> None:
        asked = time.monotonic()
        page = self._ask(f"?after={self._place}&limit=1000" if self._follower else "?limit=1")
        if self._follower is None:
            self._follower = Follower(f"{LOG} of {self._plane.name}", self._record, asked)
            self._place = page.last
            return
        self._place = page.next
        self._follower.told(page.events, asked, time.monotonic(), self._plane.url)

    def _ask(self, query: str) -> Page:
        status, _, body = self._plane.request("GET", f"/v1/events{query}")
        assert status == 200, body
        return msgspec.convert(body, Page)
