"""Who counts as deaf: asked twice, by a way that was proven; on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec
import pytest

from servicegroup.errors import Unavailable
from servicegroup.model import Member
from servicegroup.nova.rpc.broker import BrokerAway, Unanswered
from servicegroup.nova.rpc.questions import (
    RETURNING,
    WITNESSES,
    Found,
    Inquiry,
    Pace,
    Target,
)
from servicegroup.nova.rpc.results import Answer

TIMEOUT = 5.0
TOOK = 0.004
SILENT = Unanswered("it took no question in 5 s")
NO_CONSUMER = Unanswered("nobody takes messages from its queue")


class Call:
    """A question under way, whose answer is known when it is waited for."""

    def __init__(self, hear: Callable[[], float | Unanswered]) -> None:
        self._hear = hear

    def answer(self) -> float | Unanswered:
        return self._hear()


class World:
    """Services behind one broker, and the time."""

    timeout = TIMEOUT

    def __init__(self, *hosts: str) -> None:
        self.time = 1000.0
        self.members = {host: Member("compute", host) for host in hosts}
        self.queues: dict[str, Unanswered | None] = dict.fromkeys(hosts)
        self.hears: dict[str, float | Unanswered] = dict.fromkeys(hosts, TOOK)
        self.is_away = False
        self.sent: list[tuple[str, float]] = []
        self.connections = 0
        self.inquiry = Inquiry(self, self.pace(0.01))

    def pace(self, interval: float) -> Pace:
        return Pace(interval, lambda: self.time, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def open(self) -> None:
        self._there()
        self.connections += 1

    def close(self) -> None:
        self.connections = 0

    def look(self, member: Member) -> Unanswered | None:
        self._there()
        return self.queues[member.host]

    def send(self, member: Member) -> Call:
        self._there()
        self.sent.append((member.host, self.time))
        over = self.time + TIMEOUT
        return Call(lambda: self._heard(member.host, over))

    def ask(self, *hosts: str, before: Answer | None = None) -> Found:
        targets = [Target(host, self.members[host], "cell1", before) for host in hosts]
        found = self.inquiry.ask(targets, self.members.values())
        assert self.connections == 0
        return found

    def _heard(self, host: str, over: float) -> float | Unanswered:
        self._there()
        heard = self.hears[host]
        if isinstance(heard, Unanswered):
            self.time = max(self.time, over)
        return heard

    def _there(self) -> None:
        if self.is_away:
            raise BrokerAway("RabbitMQ of cell cell1 is gone: connection reset.")


def deaf(found: Found) -> set[str]:
    return {uuid for uuid, one in found.answers.items() if one.deaf_since is not None}


def asked(world: World, host: str) -> int:
    return [name for name, _ in world.sent].count(host)


def test_who_answers_is_asked_once() -> None:
    world = World("one", "two")
    found = world.ask("one", "two")
    assert {one.took for one in found.answers.values()} == {TOOK}
    assert (found.doubt, deaf(found)) == ("", set())
    assert (asked(world, "one"), asked(world, "two")) == (1, 1)


@pytest.mark.parametrize("queue", [NO_CONSUMER, None])
def test_who_leaves_two_questions_unanswered_is_deaf(queue: Unanswered | None) -> None:
    world = World("one", "two")
    world.queues["two"], world.hears["two"] = queue, SILENT
    found = world.ask("one", "two")
    assert deaf(found) == {"two"}
    assert found.answers["two"].detail == (queue or SILENT).why
    assert found.answers["two"].place == "cell1/compute"
    assert asked(world, "two") == (0 if queue else 2)


def test_between_the_two_is_the_time_for_an_answer() -> None:
    """Who restarts, or finds another server of the broker, has no consumer for a moment."""
    world = World("one", "two")
    world.queues["two"] = NO_CONSUMER
    begun = world.time

    def back() -> None:
        world.queues["two"] = None

    sleep = world.sleep

    def sleeping(seconds: float) -> None:
        sleep(seconds)
        if world.time >= begun + TIMEOUT:
            back()

    world.inquiry = Inquiry(world, Pace(0.01, lambda: world.time, sleeping))
    found = world.ask("one", "two")
    assert deaf(found) == set()
    assert found.answers["two"].took == TOOK


def test_a_late_answer_to_the_second_question_is_one() -> None:
    world = World("one", "two")
    heard: Iterator[float | Unanswered] = iter([SILENT, TOOK])
    world.send = lambda member: Call(  # type: ignore[method-assign]
        lambda: next(heard) if member.host == "two" else TOOK
    )
    assert deaf(world.ask("one", "two")) == set()


def test_who_is_deaf_already_is_asked_once_and_deaf_since_then() -> None:
    world = World("one", "two")
    world.hears["two"] = SILENT
    before = Answer("cell1/compute", 900.0, deaf_since=500.0)
    found = world.ask("one", "two", before=before)
    assert found.answers["two"].deaf_since == 500.0
    assert asked(world, "two") == 1
    world.hears["two"] = TOOK
    found = world.ask("two", before=msgspec.structs.replace(before, asked_at=950.0))
    assert found.answers["two"].deaf_since is None


def test_where_nobody_answers_nobody_is_deaf() -> None:
    world = World("one", "two", "three")
    for host in world.hears:
        world.hears[host] = SILENT
    found = world.ask("one", "two", "three")
    assert found.answers == {}
    assert "may be what is wrong" in found.doubt
    assert not found.is_away


def test_a_few_others_prove_that_the_broker_works() -> None:
    hosts = [f"h{n}" for n in range(10)]
    world = World("two", *hosts)
    world.hears["two"] = SILENT
    assert deaf(world.ask("two")) == {"two"}
    assert sum(asked(world, host) for host in hosts) == 1
    for host in hosts:
        world.hears[host] = SILENT
    world.sent.clear()
    assert world.ask("two").answers == {}
    assert sum(asked(world, host) for host in hosts) == WITNESSES


def test_what_answered_is_known_although_nobody_proves_the_broker() -> None:
    """The broker went down for consumers between the two: who answered before has answered."""
    world = World("one", "two")
    world.hears["two"] = SILENT
    send = world.send

    def once(member: Member) -> Call:
        call = send(member)
        heard = world.hears["one"]
        if member.host == "one":
            world.queues["one"] = NO_CONSUMER
            return Call(lambda: heard)
        return call

    world.send = once  # type: ignore[method-assign]
    found = world.ask("one", "two")
    assert set(found.answers) == {"one"}
    assert found.doubt


def test_a_broker_that_is_away_accuses_nobody() -> None:
    world = World("one", "two")
    world.is_away = True
    found = world.ask("one", "two")
    assert found.answers == {}
    assert found.is_away
    assert found.doubt == "RabbitMQ of cell cell1 is gone: connection reset."


def test_a_broker_that_goes_during_the_questions_accuses_nobody() -> None:
    world = World("one", "two")
    world.hears["two"] = SILENT
    hear = world._heard

    def gone(host: str, over: float) -> float | Unanswered:
        heard = hear(host, over)
        world.is_away = isinstance(heard, Unanswered)
        return heard

    world._heard = gone  # type: ignore[method-assign]
    found = world.ask("one", "two")
    assert (found.answers, found.is_away) == ({}, True)


def test_who_may_be_on_the_way_back_to_a_broker_is_not_deaf() -> None:
    world = World("one", "two")
    world.is_away = True
    world.ask("one", "two")
    world.is_away = False
    world.queues["two"] = NO_CONSUMER
    found = world.ask("one", "two")
    assert set(found.answers) == {"one"}
    assert "on their way back" in found.doubt
    world.sleep(RETURNING)
    assert deaf(world.ask("one", "two")) == {"two"}


def test_questions_are_spread_out() -> None:
    world = World(*(f"h{n}" for n in range(20)))
    world.inquiry = Inquiry(world, world.pace(0.5))
    world.ask(*world.members)
    times = [time for _, time in world.sent]
    assert {round(later - time, 6) for time, later in pairwise(times)} == {0.5}


def test_many_are_asked_again_while_others_are_asked_for_the_first_time() -> None:
    """A thousand, all deaf but one: two rounds of ten seconds, and the time for the last answer."""
    world = World(*(f"h{n}" for n in range(1000)))
    world.hears = dict.fromkeys(world.members, SILENT) | {"h0": TOOK}
    begun = world.time
    assert len(deaf(world.ask(*world.members))) == 999
    assert world.time - begun <= 2 * 10 + TIMEOUT + 0.1


def test_a_pause_of_the_prober_is_not_made_good_by_a_flood() -> None:
    world = World()
    pace = world.pace(0.01)
    pace.wait()
    world.sleep(60)
    begun = world.time
    for _ in range(200):
        pace.wait()
    assert world.time - begun > 1.4


def test_an_outage_is_one_to_try_again_after() -> None:
    assert issubclass(BrokerAway, Unavailable)
