"""Metrics for Prometheus, collected when they are asked for.

What the record, the backend and the observer say now is the same from every control plane. What
this process did since it started is in ``instruments``.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from servicegroup.controlplane.clients import Clients
from servicegroup.controlplane.feed import Feed
from servicegroup.controlplane.intake import Intake
from servicegroup.controlplane.metrics.families import PREFIX, gauge, gauges, histograms
from servicegroup.controlplane.metrics.instruments import (
    of_backends,
    of_clients,
    of_intake,
    of_observer,
    of_sessions,
)
from servicegroup.controlplane.observer_loop import ObserverLoop
from servicegroup.controlplane.sessions import Sessions
from servicegroup.errors import StoreUnavailable
from servicegroup.events import Protection
from servicegroup.group import ServiceGroup
from servicegroup.measuring import AGES, Distribution
from servicegroup.model import Service

K = TypeVar("K")

PATIENCE = 5.0
"""Seconds a scrape waits for the register; Prometheus gives up after ten, unless told otherwise."""

NEAR_SILENCE = 0.75
"""Part of ``service_down_time`` from which on a service that is up is near silence."""


MOST_GROUPS = 200
"""Groups that have series of their own, the largest; the rest is summed up as OTHER (F-59)."""

OTHER = "other"


class Metrics:
    """The metrics of one control plane, for one event loop."""

    def __init__(
        self,
        group: ServiceGroup,
        intake: Intake,
        observer_loop: ObserverLoop,
        feed: Feed,
        clients: Clients,
        sessions: Sessions,
    ) -> None:
        """Measure these parts of a control plane."""
        self._group = group
        self._intake = intake
        self._observer_loop = observer_loop
        self._feed = feed
        self._clients = clients
        self._sessions = sessions
        self._question: asyncio.Task[bytes] | None = None
        self._thread = CapacityLimiter(1)

    async def render(self) -> bytes:
        """Return the metrics as text; a database that does not answer in time is ``store_up 0``.

        Scrapes that come meanwhile share one question, so that a database that hangs costs one
        thread and one connection.
        """
        question = self._question
        if question is None or question.done():
            question = self._question = asyncio.create_task(self._ask())
        await asyncio.wait({question}, timeout=PATIENCE)
        register = question.result() if question.done() else b""
        return register + _text(self._of_process(store_up=bool(register)))

    async def _ask(self) -> bytes:
        """Return the register's part, nothing where the database does not answer."""
        try:
            return await to_thread.run_sync(
                lambda: _text(_of_register(self._group)), limiter=self._thread
            )
        except StoreUnavailable:
            return b""

    def _of_process(self, *, store_up: bool) -> Iterator[Metric]:
        yield gauge("store_up", "Whether the database answered this scrape (1 or 0).", store_up)
        yield from of_intake(self._intake)
        yield from of_backends(
            {
                judge.driver.name: judge.asking.questions
                for judge in self._group.judges()
                if judge.driver.capabilities.is_asked
            }
        )
        yield from of_observer(self._observer_loop)
        yield gauge(
            "followers",
            "Who follows the events here now; with sessions, itself too.",
            self._feed.followers,
        )
        yield from of_clients(self._clients)
        yield from of_sessions(self._sessions)


class _Families(Collector):
    """What prometheus-client asks for families."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def describe(self) -> list[Metric]:
        return []  # else it would collect only to register

    def collect(self) -> Iterable[Metric]:
        return self._families


def _text(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


def _of_register(group: ServiceGroup) -> Iterator[Metric]:
    """Ask SQL for one list of services and three rows, and the backend once."""
    everybody = itertools.chain.from_iterable(group.batches())
    yield from _of_services(everybody, NEAR_SILENCE * group.limits.service_down_time)
    yield _of_protections(group.protections())
    seen = group.observer_status()
    lag = seen.age if seen else float("inf")
    yield gauge("observer_lag_seconds", "Seconds since any observer looked at everybody.", lag)
    log = group.event_log()
    yield gauge("event_log_newest_id", "The newest event's id.", log.last)
    yield gauge("event_log_purged_id", "The newest event's id that is not kept.", log.purged)


def _of_services(services: Iterable[Service], near: float) -> Iterator[Metric]:
    counts: Counter[tuple[str, ...]] = Counter()
    ages: dict[str, Distribution] = {}
    near_silent: Counter[str] = Counter()
    flapping: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for service in services:
        group, verdict = service.topic, service.judged
        counts[group, verdict.state, verdict.reason.value, service.status] += 1
        age = ages.get(group)
        if age is None:
            age = ages[group] = Distribution(AGES)
        if verdict.is_up:
            age.add(verdict.evidence.report_age)
        near_silent[group] += verdict.is_up and verdict.evidence.silence > near
        flapping[group] += service.flapping_until is not None
        refused[group] += verdict.is_up and service.backend_error is not None
    sizes = Counter[str]()
    for (group, *_), count in counts.items():
        sizes[group] += count
    label = _labels(sizes)
    found = GaugeMetricFamily(
        PREFIX + "services",
        "Services by group, state and the reason of their verdict.",
        labels=["group", "state", "reason", "status"],
    )
    for labels, count in sorted(_summed(counts, lambda key: (label[key[0]], *key[1:])).items()):
        found.add_metric(labels, count)
    yield found
    yield histograms(
        "report_age_seconds",
        "Services that are up, by the age of their latest report now.",
        "group",
        _merged(ages, label),
        now=True,
    )
    near_silent, flapping, refused = (
        _summed(one, label.__getitem__) for one in (near_silent, flapping, refused)
    )
    yield gauges(
        "near_silent_services", "Services that are up and near silence.", "group", near_silent
    )
    yield gauges(
        "refused_services", "Services that are up and whose heartbeats fail.", "group", refused
    )
    yield gauges("flapping_services", "Services that failed often lately.", "group", flapping)


def _labels(sizes: Counter[str]) -> dict[str, str]:
    """Return what each group is called: itself, or OTHER where it is not one of the largest."""
    largest = sorted(sizes, key=lambda group: (-sizes[group], group))[:MOST_GROUPS]
    return dict.fromkeys(sizes, OTHER) | {group: group for group in largest}


def _summed(counts: Counter[K], label: Callable[[K], K]) -> Counter[K]:
    summed = Counter[K]()
    for key, count in counts.items():
        summed[label(key)] += count
    return summed


def _merged(ages: Mapping[str, Distribution], label: Mapping[str, str]) -> dict[str, Distribution]:
    merged: dict[str, Distribution] = {}
    for group, age in ages.items():
        merged.setdefault(label[group], Distribution(AGES)).merge(age)
    return merged


def _of_protections(protections: Iterable[Protection]) -> Metric:
    found = GaugeMetricFamily(
        PREFIX + "protection_members",
        "Members held because this signal is suspect; nothing while it is believed.",
        labels=["group", "zone", "signal"],
    )
    for one in protections:
        found.add_metric([one.group, one.zone, one.signal.value], one.members)
    return found
