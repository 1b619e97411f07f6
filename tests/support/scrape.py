"""What a control plane's metrics say, by name and labels, read as Prometheus reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from support.control_plane import ControlPlane


class Scrape:
    """One answer of ``/metrics``."""

    def __init__(self, text: str) -> None:
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    @classmethod
    def of(cls, plane: ControlPlane) -> Scrape:
        """Scrape a running control plane."""
        status, _, body = plane.request("GET", "/metrics")
        assert status == 200
        return cls(body.decode())

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of all samples of that name that have these labels."""
        name = f"servicegroup_{name}"
        return [
            s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """Return their sum, 0 for none."""
        return sum(self.values(name, **labels))

    def labels(self) -> dict[str, set[str]]:
        """Return the names of the labels that samples have, by the samples' name."""
        found: dict[str, set[str]] = {}
        for sample in self.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
        return found
