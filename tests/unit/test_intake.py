"""Group commit: who shares a transaction, who is refused, and what a failure costs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Literal

import pytest

from servicegroup.controlplane import intake as module
from servicegroup.controlplane.intake import Intake
from servicegroup.errors import StoreUnavailable, Unavailable
from servicegroup.messages import Refusals, Report


class Commits:
    """Stands where the layer's commit is called, and remembers what it was called with."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.marks = 0
        self.deadlines: list[float] = []
        self.error: Exception | None = None
        self.refused = Refusals()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.entered = threading.Event()

    def __call__(self, reports: Sequence[Report], marking: bool, deadline: float) -> Refusals:
        self.deadlines.append(deadline)
        self.entered.set()
        assert self.may_go_on.wait(10)
        if self.error is not None:
            raise self.error
        self.marks += marking
        if reports:
            self.batches.append([report.uuid for report in reports])
        return self.refused


def run(scenario: object, commits: Commits, longest_wait: float = 10.0) -> None:
    """Run a scenario that takes the intake on an event loop of its own."""

    async def main() -> None:
        intake = Intake(commits, longest_wait)
        intake.start()
        try:
            await asyncio.wait_for(scenario(intake), 20)  # type: ignore[operator]
        finally:
            commits.may_go_on.set()
            await intake.stop()

    asyncio.run(main())


def report(*names: str) -> list[Report]:
    return [Report(name, 1) for name in names]


def test_a_request_without_a_report_is_answered_too() -> None:
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        for _ in range(3):  # with the first there is a mark, which would be answered anyhow
            assert await intake.report([]) == Refusals()

    run(scenario, commits)


def test_reports_that_arrive_together_share_a_commit() -> None:
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        answers = await asyncio.gather(*(intake.report(report(f"s{n}")) for n in range(100)))
        assert answers == [Refusals()] * 100

    run(scenario, commits)
    assert len(commits.batches) <= 2
    assert sorted(name for batch in commits.batches for name in batch) == sorted(
        f"s{n}" for n in range(100)
    )


def test_each_request_learns_of_its_own_refusals_only() -> None:
    commits = Commits()
    commits.refused = Refusals(deleted=frozenset({"a"}), superseded=frozenset({"b", "c"}))

    async def scenario(intake: Intake) -> None:
        first, second = await asyncio.gather(
            intake.report(report("a", "x")), intake.report(report("b"))
        )
        assert first == Refusals(deleted=frozenset({"a"}))
        assert second == Refusals(superseded=frozenset({"b"}))

    run(scenario, commits)


def test_a_failed_commit_fails_its_requests_and_the_next_one_works() -> None:
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        commits.error = StoreUnavailable("The database is away.")
        with pytest.raises(StoreUnavailable, match="away"):
            await intake.report(report("a"))
        assert not intake.is_committing
        commits.error = ZeroDivisionError()
        with pytest.raises(StoreUnavailable, match="report again"):
            await intake.report(report("a"))
        commits.error = None
        assert await intake.report(report("a")) == Refusals()
        assert intake.is_committing

    run(scenario, commits)
    assert commits.batches == [["a"]]


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        with pytest.raises(Unavailable, match="report again later"):
            await intake.report(report("a", "b", "c"))
        assert await intake.report(report("a", "b")) == Refusals()
        assert intake.waiting == 0

    run(scenario, commits)


def test_what_waited_too_long_gets_no_stamp() -> None:
    """SQL-7: a report that waited behind a stuck commit proves too little."""
    commits = Commits()
    commits.may_go_on.clear()

    async def scenario(intake: Intake) -> None:
        first = asyncio.create_task(intake.report(report("a")))
        await asyncio.to_thread(commits.entered.wait, 10)
        late = asyncio.create_task(intake.report(report("b")))
        await asyncio.sleep(0.3)  # longer than longest_wait: the passing of time is the subject
        commits.may_go_on.set()
        with pytest.raises(Unavailable, match="too long"):
            await late
        first.cancel()

    run(scenario, commits, longest_wait=0.2)
    assert ["b"] not in commits.batches


def test_a_commit_may_take_no_longer_than_a_report_may_wait() -> None:
    """SQL-7: in a process or a database that stood still, reports grow old in their commit."""
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        before = time.monotonic()
        await intake.report(report("a"))
        assert before + 7 < commits.deadlines[-1] < time.monotonic() + 7

    run(scenario, commits, longest_wait=7)


def test_a_request_speaks_of_a_service_by_the_latest_life_that_it_names() -> None:
    """F-58: an answer that named the uuid for a superseded life would stop the living one."""
    commits = Commits()
    lives: list[tuple[str, int]] = []

    def commit(reports: Sequence[Report], marking: bool, deadline: float) -> Refusals:
        lives.extend((report.uuid, report.incarnation) for report in reports)
        return commits(reports, marking, deadline)

    async def scenario(intake: Intake) -> None:
        intake._commit = commit
        await intake.report([Report("a", 2), Report("b", 1), Report("a", 1), Report("a", 2)])

    run(scenario, commits)
    assert lives == [("a", 2), ("b", 1), ("a", 2)]


def test_an_idle_intake_marks_and_one_that_cannot_commit_does_not() -> None:
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        while not commits.marks:
            await asyncio.sleep(0.01)
        commits.error = StoreUnavailable("The database is away.")
        while intake.is_committing:
            await asyncio.sleep(0.01)

    run(scenario, commits)
    assert commits.marks >= 1


def test_a_commit_that_hangs_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQL-10: nothing fails then, and yet no report is taken."""
    monkeypatch.setattr(module, "STALLED", 0.2)
    commits = Commits()
    commits.may_go_on.clear()

    async def scenario(intake: Intake) -> None:
        while intake.is_committing:
            await asyncio.sleep(0.01)
        assert intake.statistics.failed_commits == 0
        commits.may_go_on.set()
        monkeypatch.setattr(module, "STALLED", 10)
        await intake.report(report("a"))
        assert intake.is_committing

    run(scenario, commits)


def test_stopping_refuses_who_still_waits() -> None:
    commits = Commits()

    async def main() -> None:
        intake = Intake(commits, 10)
        waiting = asyncio.create_task(intake.report(report("a")))
        await asyncio.sleep(0)
        await intake.stop()
        with pytest.raises(Unavailable, match="stopping"):
            await waiting

    asyncio.run(main())


def test_two_lives_of_a_service_are_not_answered_together() -> None:
    """LC-4: an answer names uuids, and the superseded life's would stop the living one."""
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        both = (intake.report([Report("a", life), Report(f"b{life}", 1)]) for life in (1, 2))
        await asyncio.gather(*both)

    run(scenario, commits)
    assert commits.batches == [["a", "b1"], ["a", "b2"]]


def test_a_client_that_alternates_lives_costs_the_others_no_batch() -> None:
    """F-60: what cannot share the batch waits for the next one, and nobody waits behind it."""
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        lives = [intake.report([Report("a", 1 + n % 2)]) for n in range(100)]
        others = [intake.report(report(f"s{n}")) for n in range(100)]
        mixed = [one for pair in zip(lives, others, strict=True) for one in pair]
        await asyncio.gather(*mixed)

    run(scenario, commits)
    assert [len(batch) for batch in commits.batches] == [150, 50]
    assert set(commits.batches[0]) == {"a", *(f"s{n}" for n in range(100))}
    assert commits.batches[1] == ["a"] * 50


def test_what_was_set_aside_is_first_in_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lives alternate, and however full batches are, each batch takes the oldest."""
    monkeypatch.setattr(module, "MAX_BATCH", 2)
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        both = [intake.report([Report("a", life), Report(f"a{life}", 1)]) for life in (1, 2, 3)]
        await asyncio.gather(*both, *(intake.report(report(f"s{n}")) for n in range(4)))

    run(scenario, commits)
    assert [batch[1] for batch in commits.batches[:3]] == ["a1", "a2", "a3"]
    assert commits.batches[3:] == [["s0", "s1"], ["s2", "s3"]]


def test_what_a_batch_left_over_waits_no_other_window() -> None:
    commits = Commits()
    windows: list[str] = []

    class Counted(asyncio.Event):
        async def wait(self) -> Literal[True]:
            windows.append("a window")
            return await super().wait()

    async def scenario(intake: Intake) -> None:
        intake._enough = Counted()
        await asyncio.gather(*(intake.report([Report("a", life)]) for life in range(1, 11)))
        assert len(windows) == 1
        await intake.report(report("b"))
        assert len(windows) == 2

    run(scenario, commits)
    assert len(commits.batches) == 11


def test_batches_keep_their_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACE", 0.3)
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        begun = time.monotonic()
        for name in "abc":
            await intake.report(report(name))
        assert time.monotonic() - begun >= 2 * module.PACE

    run(scenario, commits)
    assert commits.batches == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize(("longest", "size"), [(3600.0, 4), (0.0, 2)])
def test_a_batch_gathers_while_more_keep_coming(
    longest: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more comes in each wait, which takes no time here, and the third makes enough."""
    monkeypatch.setattr(module, "WINDOW", 3600.0)  # whoever came has come just now
    monkeypatch.setattr(module, "LONGEST_PACE", longest)
    commits = Commits()
    answers: list[asyncio.Task[Refusals]] = []

    async def scenario(intake: Intake) -> None:
        async def one_more(_seconds: float) -> bool:
            answers.append(asyncio.create_task(intake.report(report(f"{len(answers)}"))))
            await asyncio.sleep(0)
            return len(answers) == 3

        monkeypatch.setattr(intake, "_has_enough_within", one_more)
        await intake.report(report("first"))
        await asyncio.gather(*answers)

    run(scenario, commits)
    assert [len(batch) for batch in commits.batches] == [size]


def test_a_large_batch_waits_for_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACE", 3600)
    monkeypatch.setattr(module, "ENOUGH", 3)
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        for turn in range(3):
            await asyncio.gather(*(intake.report(report(f"{turn}{name}")) for name in "abc"))

    run(scenario, commits)
    assert [len(batch) for batch in commits.batches] == [3, 3, 3]


def test_an_answer_that_cannot_be_given_costs_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: object) -> None:
        raise OSError("gone")

    async def scenario(intake: Intake) -> None:
        intake.submit(report("a"), broken)
        assert await intake.report(report("b")) == Refusals()
        assert await intake.report(report("c")) == Refusals()

    commits = Commits()
    run(scenario, commits)
    assert commits.batches == [["a", "b"], ["c"]]
    assert "could not be given" in caplog.text


def test_who_reports_on_when_told_of_the_end_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    commits = Commits()
    commits.may_go_on.clear()
    told: list[object] = []

    async def main() -> None:
        intake = Intake(commits, 10.0)
        intake.start()

        def again(outcome: object) -> None:
            told.append(outcome)
            intake.submit(report("c"), told.append)

        first = asyncio.create_task(intake.report(report("a")))
        await asyncio.to_thread(commits.entered.wait, 10)
        for _ in range(2):
            intake.submit(report("b"), again)
        stopping = asyncio.create_task(intake.stop())
        await asyncio.sleep(0)
        commits.may_go_on.set()
        await stopping
        await asyncio.sleep(0)
        first.cancel()

    asyncio.run(main())
    assert [type(outcome) for outcome in told] == [Unavailable] * 4
    assert caplog.text == ""


def test_one_client_holds_a_quarter_of_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """F-59: whoever fills its share is told to come back, and nobody else is."""
    monkeypatch.setattr(module, "MAX_WAITING", 16)
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        several = report("a", "b", "c")
        kept = [asyncio.create_task(intake.report(several, "h1"))]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="3 reports of client h1 wait"):
            await intake.report(report("d", "e"), "h1")
        kept.append(asyncio.create_task(intake.report(report("d"), "h1")))
        kept.append(asyncio.create_task(intake.report(report("e", "f", "g", "h"), "h2")))
        kept += [asyncio.create_task(intake.report(report(f"s{n}"))) for n in range(8)]
        await asyncio.sleep(0)
        assert intake.waiting == 16
        with pytest.raises(Unavailable, match="16 reports wait"):
            await intake.report(report("i"))
        assert await asyncio.gather(*kept) == [Refusals()] * 11
        assert intake.waiting == 0
        assert intake.statistics.refused_requests == 2
        assert await intake.report(report("a", "b", "c", "d"), "h1") == Refusals()

    run(scenario, commits)


def test_a_refused_wait_gives_the_share_back() -> None:
    commits = Commits()
    commits.may_go_on.clear()

    async def scenario(intake: Intake) -> None:
        first = asyncio.create_task(intake.report(report("a"), "h1"))
        await asyncio.to_thread(commits.entered.wait, 10)
        late = asyncio.create_task(intake.report(report("b"), "h1"))
        await asyncio.sleep(0.3)  # longer than longest_wait: the passing of time is the subject
        commits.may_go_on.set()
        with pytest.raises(Unavailable, match="too long"):
            await late
        first.cancel()
        assert intake._held == {}

    run(scenario, commits, longest_wait=0.2)


def test_requests_without_a_report_fill_the_queue_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """F-59: they wait, and take memory."""
    monkeypatch.setattr(module, "MAX_WAITING", 8)
    commits = Commits()

    async def scenario(intake: Intake) -> None:
        answers = await asyncio.gather(
            *(intake.report([], "h1") for _ in range(5)), return_exceptions=True
        )
        assert [isinstance(answer, Unavailable) for answer in answers] == [False] * 2 + [True] * 3

    run(scenario, commits)
