"""Who is asked in a session, and who counts as deaf; time is counted in looks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.controlplane.questions import Questions
from servicegroup.controlplane.sessions import HeldLife, Holding, Sessions
from servicegroup.messages import Drain
from servicegroup.model import Member
from servicegroup.protection import Thresholds
from servicegroup.recording import Heard, Opening
from servicegroup.rpc import RpcLimits
from servicegroup.sessions import SessionEnd

INTERVAL, TIMEOUT = 6, 2


class Line:
    """The connection of a session: what was asked of whom, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def tell(self, said: object) -> None:
        questions = cast("dict[str, list[dict[str, Any]]]", said)["questions"]
        self.asked += [one["uuid"] for one in questions]

    def ask_to_go(self, why: Drain) -> None: ...

    def close(self, end: SessionEnd) -> None: ...

    def recheck(self) -> None: ...


class World:
    """Sessions that are held, and what the record was told of them."""

    def __init__(self) -> None:
        self.told: list[Heard] = []
        self.commits = SimpleNamespace(
            is_troubled=False, hear=lambda heard, member: self.told.append(heard)
        )
        self.sessions = SimpleNamespace(stopping=False, answering=set(), commits=self.commits)
        self.has_stood_still = False
        limits = RpcLimits(interval=INTERVAL, timeout=TIMEOUT)
        sessions = cast("Sessions", self.sessions)
        self.questions = Questions(sessions, limits, Thresholds(), lambda: self.has_stood_still)

    def hold(self, *uuids: str, answers: bool = True, group: str = "worker") -> Holding:
        """Open one session that speaks for all of these."""
        holding = Holding(Line(), 0)
        for uuid in uuids:
            session = f"{uuid}/{id(holding)}"
            opening = Opening(uuid, 1, 1, session, answers)
            holding.lives[uuid] = HeldLife(opening, Member(group, uuid))
        self.sessions.answering.add(holding)
        return holding

    def look(self, times: int = 1, answering: Iterable[Holding] = ()) -> None:
        """Look so often; those that answer do between two looks."""
        for _ in range(times):
            self.questions.look()
            for holding in answering:
                asked, self.line(holding).asked = self.line(holding).asked, []
                self.questions.answered(holding, asked)

    @staticmethod
    def line(holding: Holding) -> Line:
        return cast("Line", holding.line)

    def words(self) -> list[tuple[str, str]]:
        """Return what the record was told, in a word each."""
        return [(one.uuid, "answers" if one.deaf_for is None else "deaf") for one in self.told]


@pytest.fixture
def world() -> World:
    """Give a control plane where nobody holds a session yet."""
    return World()


def test_only_who_says_that_it_answers_is_asked(world: World) -> None:
    old, new = world.hold("old", answers=False), world.hold("new")
    world.look(3 * INTERVAL)
    assert world.line(old).asked == []
    assert world.line(new).asked == ["new"] * 3
    assert {one.uuid for one in world.told} == {"new"}


def test_each_is_asked_once_an_interval_and_not_all_at_once(world: World) -> None:
    holdings = [world.hold(f"h{n}") for n in range(100)]
    for looks in range(1, 3):
        world.look()
        asked = sum(len(world.line(one).asked) for one in holdings)
        assert 25 * looks < asked < 75 * looks
    assert asked == 100, "whoever is new has its turn within the time to answer"
    world.look(INTERVAL)
    assert all(world.line(one).asked == [f"h{n}"] * 2 for n, one in enumerate(holdings))


def test_the_record_is_told_of_changes_only(world: World) -> None:
    life = world.hold("a")
    world.look(5 * INTERVAL, [life])
    assert world.words() == [("a", "answers")]
    world.look(5 * INTERVAL)
    assert world.words() == [("a", "answers"), ("a", "deaf")]
    world.look(5 * INTERVAL, [life])
    assert world.words() == [("a", "answers"), ("a", "deaf"), ("a", "answers")]


def test_who_is_deaf_has_been_since_the_first_question_without_an_answer(world: World) -> None:
    life = world.hold("a")
    world.look(2)
    while not world.told:
        world.look()
    assert [one.deaf_for for one in world.told] == [TIMEOUT]
    world.look(INTERVAL)
    assert len(world.line(life).asked) == 2, "it is asked on"


def test_an_answer_that_nobody_asked_for_says_nothing(world: World) -> None:
    life, stranger = world.hold("a"), world.hold("b")
    world.questions.answered(life, ["a", "b", "c"])
    world.look(TIMEOUT)
    world.questions.answered(stranger, ["a"])
    assert world.told == []


def test_who_is_held_no_longer_is_asked_no_longer(world: World) -> None:
    life = world.hold("a")
    world.look(TIMEOUT)
    del life.lives["a"]
    world.look(5 * INTERVAL)
    assert world.told == []
    assert world.line(life).asked == ["a"]


@pytest.mark.parametrize("trouble", ["it stood still", "the database is away", "it stops"])
def test_a_control_plane_in_trouble_asks_and_accuses_nobody(trouble: str, world: World) -> None:
    life = world.hold("a")
    while not world.line(life).asked:
        world.look()
    world.has_stood_still = trouble == "it stood still"
    world.commits.is_troubled = trouble == "the database is away"
    world.sessions.stopping = trouble == "it stops"
    world.look(10 * INTERVAL)
    assert world.line(life).asked == ["a"]
    assert world.told == []


def test_a_crowd_is_deaf_together(world: World) -> None:
    """AND-2: three of a group of ten, and one alone of another group."""
    kept = world.hold(*(f"k{n}" for n in range(7)))
    lost = world.hold("l0", "l1", "l2")
    alone = world.hold("alone", group="other")
    world.look(2 * INTERVAL, [kept])
    latest = {one.uuid: one for one in world.told}
    assert {uuid for uuid, one in latest.items() if one.together} == {"l0", "l1", "l2"}
    assert latest["alone"].deaf_for is not None
    world.look(INTERVAL, [kept, lost, alone])
    assert not any(one.together for one in {one.uuid: one for one in world.told}.values())


steps = st.lists(
    st.sampled_from(["look", "answer", "stand still", "go on"]), min_size=1, max_size=60
)


@given(steps)
def test_whoever_answers_in_time_is_never_deaf_and_nothing_is_told_twice(steps: list[str]) -> None:
    world = World()
    life = world.hold("a")
    open_for = None
    for step in steps:
        before = len(world.told)
        if step == "look":
            asked = len(world.line(life).asked)
            world.look()
            if open_for is not None and not world.has_stood_still:
                open_for += 1
            elif open_for is None and len(world.line(life).asked) > asked:
                open_for = 0
        elif step == "answer":
            world.questions.answered(life, ["a"])
            open_for = None
        else:
            world.has_stood_still = step == "stand still"
        for one in world.told[before:]:
            is_deaf = one.deaf_for is not None
            assert is_deaf == (open_for is not None and open_for >= TIMEOUT)
    words = [word for _, word in world.words()]
    assert all(one != other for one, other in pairwise(words))
