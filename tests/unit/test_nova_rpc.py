"""What the layer and ``nova doctor`` make of what a probe found; without a Nova."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivers.reference import Directory, Reference, ReferenceOptions
from servicegroup.cli.nova_probe import rpc_check
from servicegroup.model import Limits, Member, Reason
from servicegroup.nova.layer import Layer
from servicegroup.nova.lives import life_of
from servicegroup.nova.rpc.options import RpcSettings
from servicegroup.nova.rpc.results import Answer, Told

NOW = datetime(2026, 1, 1, 12)
STAMP = NOW.replace(tzinfo=UTC).timestamp()
UUID = "35b740bb-2a9f-4229-a7d5-b6bd5746af19"
RECORD = {
    "uuid": UUID,
    "host": "node1",
    "topic": "compute",
    "created_at": NOW,
    "last_seen_up": NOW,
    "forced_down": False,
}
DEAF = Answer("cell1/compute", STAMP - 5, deaf_since=STAMP - 90, detail="it took no question")


def told(directory: Path, *, deaf_is_down: bool) -> Told:
    settings = RpcSettings(deaf_is_down, 5, 100, 600, str(directory / "rpc.json"))
    return Told(settings, lambda: STAMP)


@pytest.mark.parametrize("deaf_is_down", [False, True])
def test_the_layer_judges_by_what_was_found(tmp_path: Path, deaf_is_down: bool) -> None:
    rpc = told(tmp_path, deaf_is_down=deaf_is_down)
    rpc.results.add({UUID: DEAF})
    layer = Layer(Limits(), None, None, lambda: NOW, rpc=rpc)
    verdict = layer.verdict(RECORD)
    assert verdict.reason is Reason.DEAF
    assert verdict.is_up is layer.is_up(RECORD) is not deaf_is_down
    assert verdict.evidence.rpc is not None
    assert (verdict.evidence.rpc.age, verdict.evidence.rpc.deaf_for) == (5, 90)


def test_without_a_probe_the_layer_judges_as_ever(tmp_path: Path) -> None:
    layer = Layer(Limits(), None, None, lambda: NOW, rpc=told(tmp_path, deaf_is_down=True))
    assert layer.verdict(RECORD).reason is Reason.REPORTING
    assert layer.verdict(RECORD).evidence.rpc is None


@pytest.mark.parametrize(("deaf_is_down", "result"), [(False, "OK"), (True, "WARN")])
def test_a_probe_that_is_relied_upon_and_does_not_run_is_found(
    tmp_path: Path, deaf_is_down: bool, result: str
) -> None:
    check = rpc_check(told(tmp_path, deaf_is_down=deaf_is_down), [])
    assert (check.result, check.check) == (result, "rpc")
    assert "Nobody has asked lately" in check.finding


def test_a_file_that_is_broken_is_found(tmp_path: Path) -> None:
    rpc = told(tmp_path, deaf_is_down=False)
    rpc.results.path.write_text("{")
    check = rpc_check(rpc, [])
    assert check.result == "WARN"
    assert f"{rpc.results.path} cannot be used" in check.finding


@pytest.mark.parametrize(("began", "reason"), [(-6, Reason.DEAF), (-4, Reason.PRESENT)])
def test_what_was_found_of_an_earlier_life_does_not_count(
    tmp_path: Path, began: int, reason: Reason
) -> None:
    """A compute joins by the time at which its process began; it was asked 5 s ago."""
    backend = Directory(tmp_path)
    driver = Reference(ReferenceOptions(directory=str(backend.directory)))
    life = life_of(UUID, int(STAMP) + began)
    driver.heartbeat(Member("compute", "node1"), life, 60.0)
    rpc = told(tmp_path, deaf_is_down=True)
    rpc.results.add({UUID: DEAF})
    layer = Layer(Limits(), driver, None, lambda: NOW, rpc=rpc)
    assert layer.verdict(RECORD).reason is reason
    layer.close()
