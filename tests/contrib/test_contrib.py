"""What contrib ships for Prometheus and Grafana works, and leaves out nothing that is measured."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
import yaml

from docs.pages import page
from servers.plugin import require
from servers.promtool import Promtool
from support.monitoring import DASHBOARD, RULES

ALERTS = {rule["alert"]: rule for rule in RULES.alerts()}


@pytest.fixture
def promtool() -> Promtool:
    require(Promtool)
    return Promtool()


def test_prometheus_takes_the_rules_and_the_example(promtool: Promtool) -> None:
    promtool.accepts("check", "rules", RULES.path)
    promtool.accepts("check", "config", RULES.example)


def test_each_alert_fires_when_it_should_and_says_what_it_should(promtool: Promtool) -> None:
    promtool.accepts("test", "rules", RULES.tests)


def test_each_alert_is_tested_to_fire_and_to_be_silent() -> None:
    fires: dict[bool, set[str]] = {True: set(), False: set()}
    for test in yaml.safe_load(RULES.tests.read_text())["tests"]:
        for check in test["alert_rule_test"]:
            fires["exp_alerts" in check].add(check["alertname"])
    assert fires[True] == fires[False] == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_so_what_to_do_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert set(rule["annotations"]) == {"summary", "action", "runbook"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{name.lower()}"
    text = page("docs/monitoring.md").section(name)
    assert "At 3 a.m." in text


@pytest.mark.parametrize("name", ["ServicegroupServicesDown", "ServicegroupManyDown"])
def test_whoever_is_down_for_whatever_reason_is_an_alert(name: str) -> None:
    """Those off by intent have one of their own; a newer release has other reasons (F-53)."""
    excepted = set(
        re.findall(r'state="down", status="enabled", (reason.*?)}', ALERTS[name]["expr"])
    )
    assert excepted == {'reason!~"left|forced_down"'}
    assert 'reason=~"left|forced_down"' in ALERTS["ServicegroupServicesOff"]["expr"]


def test_no_alert_is_described_that_there_is_not() -> None:
    headings = page("docs/monitoring.md").headings
    assert {name for name in headings if re.fullmatch(r"Servicegroup\w+", name)} == set(ALERTS)


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    model = DASHBOARD.model()
    assert model["uid"] == "servicegroup"
    assert "id" not in model, "an id is of one Grafana"
    kinds = {one["name"]: one["type"] for one in model["templating"]["list"]}
    assert kinds["datasource"] == "datasource"
    ids = [panel["id"] for panel in model["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in DASHBOARD.panels()]
    assert len(set(titles)) == len(titles)
    places = sorted((p["gridPos"]["y"], p["gridPos"]["x"], p) for p in model["panels"])
    for (y, x, panel), (next_y, next_x, _) in pairwise(places):
        assert x + panel["gridPos"]["w"] <= (next_x if y == next_y else 24), panel["title"]


@pytest.mark.parametrize("panel", DASHBOARD.panels(), ids=lambda panel: str(panel["title"]))
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    for one in (panel, *panel["targets"]):
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert any(asked.metrics for asked in DASHBOARD.asked() if asked.where == panel["title"])


def test_the_dashboard_shows_everything_that_is_measured() -> None:
    cells = (row[0].strip("`") for row in page("docs/api.md").rows)
    measured = {cell for cell in cells if cell.startswith("servicegroup_")}
    shown = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for asked in DASHBOARD.asked()
        for name in asked.metrics
    }
    assert shown == measured
