"""What is in contrib for Prometheus and Grafana, as data: what it asks for, and where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

CONTRIB = Path(__file__).parents[2] / "contrib"

_SELECTOR = re.compile(r"\b(servicegroup_\w+|up)\b(?:\{([^}]*)\})?(?![\w.])")
_MATCHER = re.compile(r"(\w+)\s*[=!]~?")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_TEMPLATE = re.compile(r"\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}")


class Asked(msgspec.Struct, frozen=True):
    """What one query asks for: metrics with the labels they are selected by, other labels."""

    where: str
    metrics: dict[str, set[str]]
    labels: set[str]


def asked(where: str, query: str, *templates: str) -> Asked:
    """Return what a query asks for, and the texts that its labels are put into."""
    metrics: dict[str, set[str]] = {}
    for name, matchers in _SELECTOR.findall(query):
        metrics.setdefault(name, set()).update(_MATCHER.findall(matchers))
    names = ",".join(_GROUPING.findall(query)).split(",")
    shown = [label for template in templates for label in _TEMPLATE.findall(template)]
    return Asked(where, metrics, {label.strip() for label in (*names, *shown)} - {""})


class Rules:
    """The alert rules, and their tests."""

    path = CONTRIB / "prometheus" / "servicegroup.rules.yml"
    tests = CONTRIB / "prometheus" / "servicegroup_test.yml"
    example = CONTRIB / "prometheus" / "prometheus.yml"

    def alerts(self) -> list[dict[str, Any]]:
        """Return the rules, in order."""
        groups = yaml.safe_load(self.path.read_text())["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def asked(self) -> Iterator[Asked]:
        """Tell what each rule asks for."""
        for rule in self.alerts():
            yield asked(rule["alert"], rule["expr"], *rule["annotations"].values())


class Dashboard:
    """The dashboard for Grafana."""

    path = CONTRIB / "grafana" / "servicegroup.json"

    def model(self) -> dict[str, Any]:
        """Return it as Grafana imports it."""
        model: dict[str, Any] = json.loads(self.path.read_text())
        return model

    def panels(self) -> list[dict[str, Any]]:
        """Return the panels that show something, rows left out."""
        return [panel for panel in self.model()["panels"] if panel["type"] != "row"]

    def asked(self) -> Iterator[Asked]:
        """Tell what each query of each panel and variable asks for."""
        for panel in self.panels():
            for target in panel["targets"]:
                yield asked(panel["title"], target["expr"], target.get("legendFormat", ""))
        for variable in self.model()["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["query"])[0]
                yield Asked(variable["name"], {metric: {label}}, set())


RULES = Rules()
DASHBOARD = Dashboard()
