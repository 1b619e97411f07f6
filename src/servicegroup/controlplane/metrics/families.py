"""Plain numbers and distributions as Prometheus's families, under the product's prefix.

Those in the plural have one label, and a value for each of what it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from servicegroup.measuring import Distribution

Label = TypeVar("Label", bound=str)

PREFIX = "servicegroup_"


def gauge(name: str, text: str, value: float) -> Metric:
    """Return one number that goes up and down."""
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def gauges(name: str, text: str, label: str, values: Mapping[Label, float]) -> Metric:
    """Return numbers that go up and down."""
    return _labelled(GaugeMetricFamily(PREFIX + name, text, labels=[label]), values)


def counter(name: str, text: str, value: float) -> Metric:
    """Return one number that only grows."""
    return CounterMetricFamily(PREFIX + name, text, value=value)


def counters(name: str, text: str, label: str, values: Mapping[Label, float]) -> Metric:
    """Return numbers that only grow."""
    return _labelled(CounterMetricFamily(PREFIX + name, text, labels=[label]), values)


def _labelled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[Label, float]
) -> Metric:
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def histogram(name: str, text: str, distribution: Distribution) -> Metric:
    """Return one distribution of all that happened since the start."""
    return HistogramMetricFamily(
        PREFIX + name, text, buckets=_buckets(distribution), sum_value=distribution.sum
    )


def histograms(
    name: str, text: str, label: str, values: Mapping[Label, Distribution], *, now: bool = False
) -> Metric:
    """Return distributions; of what is ``now``, buckets alone, since count and sum only grow."""
    found = HistogramMetricFamily(PREFIX + name, text, labels=[label])
    for key, distribution in values.items():
        found.add_metric([key], _buckets(distribution), None if now else distribution.sum)
    return found


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    to_text: Callable[[float], str] = floatToGoString
    return [(to_text(edge), count) for edge, count in distribution.cumulated()]
