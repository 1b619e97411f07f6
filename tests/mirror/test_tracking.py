"""What changed between two answers: stamps that moved, facts, who is gone, and who is not sure."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from servicegroup.messages import Report
from servicegroup.mirror.apis import APIS, Body, Seen, merged
from servicegroup.mirror.cloud import Cloud
from servicegroup.mirror.tracking import AGAIN, AWAY, GRACE, Changes, Tracker
from servicegroup.mirrors import Kept

ONE = Seen("one", "nova-compute", "nova", up=True, beat="2026-01-31T12:00:00")
TWO = Seen("two", "nova-compute", "nova", up=True, beat="2026-01-31T12:00:00")
UUIDS = {
    "one": "11111111-1111-4111-8111-111111111111",
    "two": "22222222-2222-4222-8222-222222222222",
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock that the test moves."""
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> Tracker:
    """Give a tracker of two computes that were told."""
    made = Tracker(clock)
    look(made, ONE, TWO)
    return made


def look(tracker: Tracker, *seen: Seen) -> Changes:
    """Return what an answer brings, after the register has kept all that it was told."""
    changes = tracker.changes(seen)
    kept = [Kept(one.host, one.binary, UUIDS[one.host], 1) for one in changes.told]
    tracker.did(seen, changes, kept)
    return changes


def with_(seen: Seen, **fields: object) -> Seen:
    return msgspec.structs.replace(seen, **fields)


def test_what_stands_still_brings_nothing(tracker: Tracker) -> None:
    assert look(tracker, ONE, TWO) == Changes([], [], [], True)


def test_a_stamp_that_moved_is_a_report(tracker: Tracker) -> None:
    later = with_(ONE, beat="2026-01-31T12:00:10")
    assert look(tracker, later, TWO).moved == [Report(UUIDS["one"], 1)]
    # An edit moves Nova's stamp too, of one that is down.
    edited = with_(later, up=False, disabled=True, beat="2026-01-31T12:00:30")
    changes = look(tracker, edited, TWO)
    assert (changes.told, changes.moved) == ([edited], [])


def test_who_is_gone_from_two_answers_in_a_row_is_deleted(tracker: Tracker) -> None:
    assert look(tracker, ONE).gone == []
    assert look(tracker, ONE, TWO).gone == []
    assert look(tracker, ONE).gone == []
    assert look(tracker, ONE).gone == [UUIDS["two"]]
    assert len(tracker) == 1


def test_an_answer_that_is_not_sure_deletes_nobody(tracker: Tracker) -> None:
    for seen in ((), (with_(ONE, up=None),), (), ()):
        changes = look(tracker, *seen)
        assert (changes.gone, changes.complete) == ([], False)
    assert len(tracker) == 2


def test_an_api_that_was_away_has_to_say_down_for_a_while(tracker: Tracker, clock: Clock) -> None:
    clock.now += AWAY + 1
    down = with_(ONE, up=False)
    changes = look(tracker, down, TWO)
    assert changes.told == []
    assert changes.unsure == {ONE.name}
    assert not changes.complete
    clock.now += GRACE / 3
    assert look(tracker, down, TWO).told == []
    for _ in range(4):
        clock.now += GRACE / 4
        changes = look(tracker, down, TWO)
    assert look(tracker, down, TWO).told == []
    assert changes.complete


def test_an_api_that_answers_says_down_at_once(tracker: Tracker, clock: Clock) -> None:
    clock.now += AWAY - 1
    down = with_(ONE, up=False)
    assert look(tracker, down, TWO).told == [down]


def test_who_was_refused_is_told_again_later(clock: Clock) -> None:
    tracker = Tracker(clock)
    for wait, told in ((0.0, [ONE]), (1.0, []), (AGAIN, [ONE])):
        clock.now += wait
        changes = tracker.changes([ONE])
        assert changes.told == told
        tracker.did([ONE], changes, [])


def test_a_mirror_that_starts_anew_tells_everybody_and_reports_for_those_up(clock: Clock) -> None:
    tracker = Tracker(clock)
    tracker.opened([Kept("one", "nova-compute", UUIDS["one"], 3)])
    changes = tracker.changes([with_(ONE, disabled=True)])
    assert changes.moved == [Report(UUIDS["one"], 3)]
    assert [one.disabled for one in changes.told] == [True]


@pytest.mark.parametrize(
    ("api", "row", "expected"),
    [
        (
            "nova",
            {"id": "u", "host": "h", "binary": "nova-compute", "zone": "z", "status": "disabled",
             "state": "up", "updated_at": "2026-01-31T12:00:00.000000", "disabled_reason": "disk",
             "forced_down": False},
            Seen("h", "nova-compute", "z", True, "disk", False, True, "2026-01-31T12:00:00.000000"),
        ),
        (
            "nova",
            {"host": "h", "binary": "nova-compute", "status": "UNKNOWN"},
            Seen("h", "nova-compute"),
        ),
        (
            "neutron",
            {"id": "u", "host": "h", "binary": "neutron-l3-agent", "alive": False,
             "admin_state_up": False, "availability_zone": "z", "topic": "l3_agent",
             "heartbeat_timestamp": "2026-01-31 12:00:00", "configurations": {"a": 1}},
            Seen("h", "neutron-l3-agent", "z", True, None, False, False, "2026-01-31 12:00:00"),
        ),
        (
            "heat",
            {"host": "h", "binary": "heat-engine", "engine_id": "e", "status": "down",
             "hostname": "x", "updated_at": None},
            Seen("h", "heat-engine", up=False),
        ),
        (
            "designate",
            {"service_name": "central", "hostname": "h", "status": "WARNING",
             "heartbeated_at": "2026-01-31T12:00:00.000000"},
            Seen("h", "designate-central", up=True, beat="2026-01-31T12:00:00.000000"),
        ),
    ],
)  # fmt: skip
def test_rows(api: str, row: object, expected: Seen) -> None:
    one = APIS[api]
    body = msgspec.json.decode(msgspec.json.encode({one.field: [row]}), type=Body)
    assert merged(one, getattr(body, one.field)) == ([expected], [])


def test_of_two_rows_of_one_name_the_worse_one_counts_and_of_processes_the_better() -> None:
    rows = [{"host": "h", "binary": "b", "state": s, "status": s} for s in ("up", "down", "up")]
    body = msgspec.json.decode(msgspec.json.encode({"services": rows}), type=Body)
    assert body.services is not None
    assert [seen.up for seen in merged(APIS["nova"], body.services)[0]] == [False]
    assert [seen.up for seen in merged(APIS["heat"], body.services)[0]] == [True]


def test_a_reason_of_several_lines_is_one_here() -> None:
    written = with_(ONE, disabled=True, reason="disk\nsda " + "x" * 300)
    reason = written.mirrored(datetime(2026, 1, 31)).disabled_reason or ""
    assert (reason[:9], len(reason)) == ("disk sda ", 255)


def test_what_is_told_of_one_that_is_down_has_its_age_by_the_clock_there() -> None:
    told = with_(ONE, up=False).mirrored(datetime(2026, 1, 31, 12, 5))
    assert (told.age, told.down) == (300, True)
    assert told.words == "its own API says down, last heartbeat 2026-01-31 12:00:00 there"
    assert with_(ONE, beat="2026-01-31T14:05:00+02:00").mirrored(datetime(2026, 1, 31, 12)).age == 0


# openstacksdk warns of its own doings: how it calls itself, and a library that is nowhere here.
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize(
    ("named", "asked", "known_by"),
    [
        ("http://h:8774/v2.1", "http://h:8774/v2.1", "http://h:8774/v2.1"),
        ("http://h:9696/", "http://h:9696/v2.0", "http://h:9696/v2.0"),
        ("http://h/volume/v3/0a1b2c", "http://h/volume/v3/0a1b2c", "http://h/volume/v3"),
        ("http://v2.example/v3/v3", "http://v2.example/v3/v3", "http://v2.example/v3"),
    ],
)
def test_an_endpoint_has_its_version_and_is_known_without_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, asked: str, known_by: str
) -> None:
    cloud = {"auth_type": "none", "network_endpoint_override": named}
    (tmp_path / "clouds.yaml").write_bytes(msgspec.json.encode({"clouds": {"prod": cloud}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    found = Cloud("prod")
    assert found.apis() == [APIS["neutron"]]
    assert found.endpoint(APIS["neutron"]) == asked
    assert found.place(APIS["neutron"]) == known_by
    found.close()
