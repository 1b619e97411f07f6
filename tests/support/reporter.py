"""One service that reports without a pause, and for how long nothing of it is committed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import urllib3

from servers.process import PATIENCE
from support.control_plane import ControlPlane
from support.waiting import until


class Reporter:
    """Reports again and again, whatever happens, and keeps when a report was acknowledged last."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        body = {"host": "node1", "binary": "worker"}
        _, _, life = plane.request("POST", "/v1/services", body)
        self._report = {"uuid": life["uuid"], "incarnation": life["incarnation"]}
        self.acknowledged = 0
        self.sent_at = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            sent = time.monotonic()
            try:
                status, _, _ = self._plane.request(
                    "POST", "/v1/reports", {"reports": [self._report]}
                )
            except urllib3.exceptions.HTTPError:
                continue
            if status == 200:
                self.acknowledged += 1
                self.sent_at = sent


def seconds_until_committed(plane: ControlPlane, fail: Callable[[], object]) -> float:
    """Return for how long nothing was committed although a server took writes.

    ``fail`` returns at the moment from which one takes them.
    """
    reporter = Reporter(plane)
    with reporter.reporting():
        until(lambda: reporter.acknowledged > 3, PATIENCE, what="reports are committed")
        fail()
        writable = time.monotonic()
        until(lambda: reporter.sent_at > writable, PATIENCE, 0.01, "reports are committed again")
        took = time.monotonic() - writable
    shown = plane.services()["node1", "worker"]
    assert shown["report_count"] >= reporter.acknowledged, "nothing acknowledged is lost"
    return took
