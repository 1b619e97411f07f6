"""One observer, one service: each change of state once, and the same for every reader."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from observer.world import EVER_AGO, World, transitions
from servicegroup.events import EventKind
from servicegroup.liveness import judge
from servicegroup.model import PresenceState, Reason
from servicegroup.store import findings


def test_every_transition_is_recorded_once_with_its_evidence(world: World) -> None:
    world.observer()
    process = world.start("h1")
    assert transitions(world.pass_time(30)) == [("h1", "up")]
    world.crash([process])
    *_, failed = happened = world.pass_time(200)
    assert transitions(happened) == [("h1", "down")]
    assert (failed.before, failed.after, failed.reason) == ("up", "down", Reason.ABSENT)
    assert failed.seconds == 29 + 10, "it was up for that long"
    assert failed.evidence is not None
    assert judge(failed.evidence).reason is failed.reason
    assert (failed.uuid, failed.incarnation) == (process.uuid, 1)
    process = world.start("h1")
    back, *_ = happened = [e for e in world.pass_time(5) if e.kind is EventKind.UP]
    assert (len(happened), back.incarnation) == (1, 2)
    for forced in (True, False):
        world.reader.update(process.uuid, forced_down=forced)
        assert len(transitions(world.pass_time(3))) == 1
    world.stop([process])
    happened = world.pass_time(30)
    assert [e.reason for e in happened if e.kind is EventKind.DOWN] == [Reason.LEFT]
    assert world.seen["h1"] == ["up", "down", "up", "down", "up", "down"]
    assert [e.id for e in world.events()] == list(range(1, world.reader.event_log().last + 1))


def test_silence_is_found_while_presence_goes_on(world: World) -> None:
    """One alone never makes the reports suspect."""
    world.observer()
    process, _ = world.fleet(2)
    process.reports = False
    world.pass_time(60)
    assert world.down() == set()
    assert transitions(world.pass_time(1)) == [("h0", "down")]
    assert world.get(process).judged.reason is Reason.SILENT


def test_since_when_a_member_is_absent_is_kept_until_it_is_present(world: World) -> None:
    world.observer()
    process = world.start("h1")
    world.pass_time(2)
    assert world.get(process).absent_since is None
    world.vanish([process])
    world.pass_time(1)
    since = world.clock.now
    assert world.get(process).absent_since == since
    world.pass_time(30)
    assert world.get(process).absent_since == since
    world.rejoin([process])
    assert world.get(process).is_up, "whoever is present is up, whatever was known before"
    world.pass_time(1)
    assert world.get(process).absent_since is None


def test_not_knowing_does_not_raise_the_dead(world: World) -> None:
    """Without an answer it stays absent, until it reports once more."""
    world.observer()
    process = world.start("h1")
    world.pass_time(2)
    world.vanish([process])
    process.reports = False
    assert transitions(world.pass_time(1)) == [("h1", "down")]
    world.backend.freeze()
    assert transitions(world.pass_time(15)) == []
    assert world.get(process).judged.reason is Reason.ABSENT
    process.reports = True
    assert transitions(world.pass_time(1)) == [("h1", "up")]
    assert world.get(process).judged.reason is Reason.UNCONFIRMED
    assert world.get(process).absent_since is not None, "it was not seen present"


def test_a_backend_that_does_not_answer_changes_nothing(world: World) -> None:
    world.observer()
    world.fleet(4)
    world.pass_time(2)
    world.backend.freeze()
    assert world.pass_time(90) == []
    assert world.down() == set()


def test_a_start_does_not_flash_down(world: World) -> None:
    """Nor does a fast restart, whose former life is still present (LC-4)."""
    world.observer()
    process = world.start("h1", beats=False)
    world.pass_time(9)
    assert world.get(process).judged.reason is Reason.JOINING
    world.rejoin([process])
    world.pass_time(5)
    world.crash([process])
    process = world.start("h1", beats=False)
    world.pass_time(9)
    world.rejoin([process])
    world.pass_time(30)
    assert world.seen == {"h1": ["up"]}


def test_who_never_joins_is_found_after_a_report_interval(world: World) -> None:
    world.observer()
    world.start("h1", beats=False)
    world.pass_time(10)
    assert world.down() == set()
    assert transitions(world.pass_time(1)) == [("h1", "down")]


def test_who_vanishes_right_after_joining_is_found_at_once_by_all(world: World) -> None:
    """Also by a reader that was not there to see it present."""
    world.observer()
    process = world.start("h1")
    world.pass_time(1)
    world.vanish([process])
    assert transitions(world.pass_time(1)) == [("h1", "down")]
    process.reported_at = EVER_AGO  # it reports at once
    world.pass_unseen(1)
    stranger = world.layer().get(process.uuid)
    assert stranger.judged.reason is Reason.ABSENT
    assert not stranger.judged.evidence.seen_present


def test_where_nobody_observes_a_reader_counts_absence_itself(world: World) -> None:
    observer = world.observer()
    world.fleet(3)
    world.pass_time(2)
    world.vanish(world.processes[:1])
    assert world.down() == set(), "the observer's word is waited for"
    world.observers.remove(observer)
    world.pass_unseen(4)
    (service,) = [s for s in world.reader.services() if not s.is_up]
    assert (service.host, service.judged.reason) == ("h0", Reason.ABSENT)
    presence = service.judged.evidence.presence
    assert presence is not None
    assert presence.state is PresenceState.ABSENT
    assert service.absent_since is None


def test_a_service_that_reports_during_every_look_is_found_absent_and_forced_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports may come faster than a look is judged and recorded (F-50)."""
    world.observer()
    absent, forced, silent = world.fleet(3)
    world.pass_time(2)
    recording = findings.record
    reporting = [absent, forced]

    def reported_meanwhile(*args: Any) -> Any:
        world.clock.now += timedelta(milliseconds=20)
        world._report(reporting)
        return recording(*args)

    monkeypatch.setattr(findings, "record", reported_meanwhile)
    world.vanish([absent])
    world.reader.update(forced.uuid, forced_down=True)
    happened = world.pass_time(3)
    assert sorted(transitions(happened)) == [("h0", "down"), ("h1", "down")]
    assert world.get(absent).judged.reason is Reason.ABSENT
    assert world.get(absent).absent_since is not None
    silent.reports = False
    reporting.append(silent)
    assert transitions(world.pass_time(90)) == [], "silence is taken back by a report"


def test_what_is_remembered_of_the_deleted_is_forgotten_at_a_whole_look(world: World) -> None:
    """Names of pods never come back."""
    observer = world.observer()
    first, *others = world.fleet(4)
    world.pass_time(3)
    judge_of_it = observer._group.judge
    assert len(judge_of_it._seen_present) == 4
    for process in others:
        world.stop([process])
        world.reader.delete(process.uuid)
    world.pass_time(3)
    assert judge_of_it._seen_present.keys() == {world.get(first).id}
