"""Metrics for Prometheus, collected when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from servicegroup.api.intake import Intake
from servicegroup.errors import StoreUnavailable
from servicegroup.group import ServiceGroup


def render(group: ServiceGroup, intake: Intake) -> bytes:
    """Return the metrics as text; a database that does not answer shows as ``store_up 0``."""
    registry = CollectorRegistry()
    registry.register(_Register(group))
    registry.register(_Intake(intake))
    return generate_latest(registry)


class _Register(Collector):
    """What the register says now: one question to SQL and one to the backend a scrape."""

    def __init__(self, group: ServiceGroup) -> None:
        self._group = group

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        services = GaugeMetricFamily(
            "servicegroup_services",
            "Services by group, state and the reason of their verdict.",
            labels=["group", "state", "reason", "status"],
        )
        store_up = GaugeMetricFamily(
            "servicegroup_store_up", "Whether the database answered this scrape (1 or 0)."
        )
        try:
            counts = Counter(
                (s.topic, s.judged.state, s.judged.reason.value, s.status)
                for s in self._group.services()
            )
        except StoreUnavailable:
            store_up.add_metric([], 0)
        else:
            store_up.add_metric([], 1)
            for labels, count in sorted(counts.items()):
                services.add_metric(labels, count)
        yield services
        yield store_up


class _Intake(Collector):
    """What this process's intake did since it started."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        done = self._intake.statistics
        for name, text, value in (
            ("reports", "Reports that were committed.", done.reports),
            ("commits", "Batches that were committed, empty ones included.", done.commits),
            ("failed_commits", "Batches that could not be committed.", done.failed_commits),
            (
                "refused_requests",
                "Requests refused as too many or too late.",
                done.refused_requests,
            ),
            ("commit_seconds", "Seconds spent committing batches.", done.commit_seconds),
        ):
            yield CounterMetricFamily(f"servicegroup_intake_{name}", text, value)
        waiting = self._intake.waiting
        yield GaugeMetricFamily("servicegroup_intake_waiting", "Reports waiting now.", waiting)
