"""Membership: who joins is present, who leaves is absent, and nobody is taken for another."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from servicegroup.model import Member, PresenceState
from servicegroup.testing.harness import Harness, ask, states

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servicegroup.driver import Driver

# ruff: noqa: S101

ODD_HOSTS = (
    *("rack/7", "/", "//", ".", "..", "@", "host@1", "host@1@2", "%", "%2F", "%40", "*", "[ab]?"),
    *("a.b.example.org", "with space", " ", "blank", " blank", "blank ", "quote'\"", "back\\slash"),
    *(":", "2001:db8::1", "Host", "host", "rechner-ä", "日本", "é", "e\u0301", "🐘"),
    *("h" * 255, "h" * 254 + "i", "é" * 255, "é" * 254 + "e"),
)

CONFUSABLE = (
    (("a", "b/c"), ("a/b", "c")),
    (("a", "b:c"), ("a:b", "c")),
    (("a", "b@c"), ("a@b", "c")),
    (("a", "b c"), ("a b", "c")),
    (("a%2Fb", "c"), ("a/b", "c")),
)

MANY, IN_ONE = 5_000, 0.5
"""So many members are answered within so many seconds, which one round trip each would exceed."""


class MembershipContract(Harness):
    """Join, leave, incarnations, groups and names."""

    def test_a_member_that_joins_is_present(
        self, agent: Driver, observer: Driver, member: Member
    ) -> None:
        """The other handle sees it, with its incarnation and no other."""
        agent.heartbeat(member, 7, self.ttl)
        self.becomes_present(observer, member, 7)
        answer = ask(observer, member)
        assert answer.incarnations == {7}
        assert answer.age is None or answer.age >= 0

    def test_every_member_asked_is_answered(
        self, agent: Driver, observer: Driver, group: str
    ) -> None:
        """Those who never joined are answered too, and are not present."""
        known, strangers = Member(group, "known"), [Member(group, f"s-{n}") for n in range(3)]
        self.joins(agent, observer, [known])
        answers = observer.presence([known, *strangers])
        assert set(answers) == {known, *strangers}
        assert answers[known].state is PresenceState.PRESENT
        assert all(answers[one].state is not PresenceState.PRESENT for one in strangers)
        assert observer.presence([]) == {}

    def test_an_empty_group_is_answered(self, observer: Driver, member: Member) -> None:
        """A group that nobody ever joined has nobody present."""
        assert ask(observer, member).state is not PresenceState.PRESENT

    def test_heartbeats_are_idempotent(
        self, agent: Driver, observer: Driver, member: Member
    ) -> None:
        """Many heartbeats make one member, and one leave ends it."""
        with self.freeing(agent, observer, member) as ttl:
            for _ in range(3):
                agent.heartbeat(member, 1, ttl)
            assert ask(observer, member).incarnations == {1}
            agent.leave(member, 1)

    def test_a_member_stays_for_its_time_to_live(
        self, agent: Driver, observer: Driver, member: Member
    ) -> None:
        """One heartbeat holds for the whole time to live, coarse clocks included (MC-1)."""
        self.becomes_settled(agent, observer, member)
        for _ in range(3):
            begun = time.monotonic()
            agent.heartbeat(member, 1, self.ttl)
            self.becomes_present(observer, member, 1)
            answer = ask(observer, member)
            while time.monotonic() - begun < self.ttl:
                assert answer.state is PresenceState.PRESENT, f"gone early: {answer.detail}"
                time.sleep(0.01)
                answer = ask(observer, member)

    def test_a_member_leaves_by_itself(
        self, agent: Driver, observer: Driver, member: Member
    ) -> None:
        """Leaving its own incarnation frees it, and leaving again is success."""
        with self.freeing(agent, observer, member):
            agent.leave(member, 1)
        agent.leave(member, 1)
        agent.leave(member)

    def test_the_control_plane_makes_a_member_leave(
        self, agent: Driver, observer: Driver, member: Member
    ) -> None:
        """A handle that never joined frees every incarnation of the member (spec S4)."""
        with self.freeing(agent, observer, member):
            observer.leave(member)

    def test_the_control_plane_makes_one_incarnation_leave(
        self, agent: Driver, observer: Driver, member: Member
    ) -> None:
        """It can name the incarnation that it frees."""
        with self.freeing(agent, observer, member):
            observer.leave(member, 1)

    def test_leaving_what_never_joined_is_success(self, observer: Driver, member: Member) -> None:
        """Nothing to free is nothing to complain of."""
        observer.leave(member)
        observer.leave(member, 3)

    def test_a_heartbeat_joins_again_after_an_eviction(
        self, agent: Driver, observer: Driver, member: Member
    ) -> None:
        """Freed from outside, the same incarnation is back with its next heartbeat (ZK-2)."""
        with self.freeing(agent, observer, member):
            observer.leave(member)
        agent.heartbeat(member, 1, self.ttl)
        self.becomes_present(observer, member, 1)

    def test_a_newer_incarnation_takes_over(
        self, agent: Driver, successor: Driver, observer: Driver, member: Member
    ) -> None:
        """It is present at once, whatever its predecessor left behind."""
        self.joins(agent, observer, [member])
        successor.heartbeat(member, 2, self.ttl)
        self.becomes_present(observer, member, 2)

    def test_an_older_incarnation_does_not_hide_a_newer_one(
        self, agent: Driver, successor: Driver, observer: Driver, member: Member
    ) -> None:
        """Heartbeats of a process that was superseded change nothing for its successor."""
        successor.heartbeat(member, 2, self.ttl)
        self.becomes_present(observer, member, 2)
        for _ in range(5):
            agent.heartbeat(member, 1, self.ttl)
            assert 2 in ask(observer, member).incarnations
            successor.heartbeat(member, 2, self.ttl)
            assert 2 in ask(observer, member).incarnations

    def test_an_older_incarnation_does_not_revive_a_newer_one(
        self, agent: Driver, successor: Driver, observer: Driver, member: Member
    ) -> None:
        """Whoever heartbeats on under the same name counts as itself only (LC-4)."""
        successor.heartbeat(member, 2, self.ttl)
        self.becomes_present(observer, member, 2)
        successor.leave(member, 2)
        agent.heartbeat(member, 1, self.ttl)
        self.becomes_present(observer, member, 1)
        self.eventually(lambda: 2 not in ask(observer, member).incarnations, "2 is forgotten")

    def test_an_older_incarnation_that_leaves_leaves_alone(
        self, agent: Driver, successor: Driver, observer: Driver, member: Member
    ) -> None:
        """A late leave evicts no successor, from either side."""
        agent.heartbeat(member, 1, self.ttl)
        successor.heartbeat(member, 2, self.ttl)
        self.becomes_present(observer, member, 2)
        for handle in (agent, observer):
            handle.leave(member, 1)
            assert 2 in ask(observer, member).incarnations
        self.eventually(lambda: ask(observer, member).incarnations == {2}, "1 has left")

    def test_an_incarnation_that_never_joined_frees_nothing(
        self, agent: Driver, observer: Driver, member: Member
    ) -> None:
        """Leaving a newer incarnation that never came does not touch the one that is there."""
        self.joins(agent, observer, [member])
        observer.leave(member, 2)
        assert ask(observer, member).incarnations == {1}

    def test_leaving_without_an_incarnation_frees_all(
        self, agent: Driver, successor: Driver, observer: Driver, member: Member
    ) -> None:
        """An administrator's eviction asks for no number."""
        with self.freeing(agent, observer, member) as ttl:
            successor.heartbeat(member, 2, ttl)
            self.becomes_present(observer, member, 2)
            observer.leave(member)

    def test_groups_are_apart(self, agent: Driver, observer: Driver, group: str) -> None:
        """The same host in two groups is two members, and leaving one is not leaving both."""
        first, second = Member(group, "host"), Member(f"{group}-2", "host")
        self.joins(agent, observer, [first])
        assert ask(observer, second).state is not PresenceState.PRESENT
        with self.beating(agent, [second]):
            self.joins(agent, observer, [first, second])
            agent.leave(first)
            self.becomes_absent(observer, first)
            assert ask(observer, second).state is PresenceState.PRESENT

    def test_no_two_names_are_confused(self, agent: Driver, observer: Driver, group: str) -> None:
        """However group and host are written together, two members stay two."""
        for (here, host), (there, other) in CONFUSABLE:
            joined = Member(f"{group}{here}", host)
            stranger = Member(f"{group}{there}", other)
            self.joins(agent, observer, [joined])
            assert ask(observer, stranger).state is not PresenceState.PRESENT, stranger
            agent.leave(stranger)
            assert ask(observer, joined).state is PresenceState.PRESENT, joined
            agent.leave(joined)

    def test_odd_host_names_are_members_like_any_other(
        self, agent: Driver, observer: Driver, group: str
    ) -> None:
        """Slashes, dots, blanks, other scripts and 255 characters; each is itself (MC-3).

        Where the backend can list, the listing of the group is theirs.
        """
        members = [Member(group, host) for host in ODD_HOSTS]
        with self.beating(agent, members[1::2]):
            self.joins(agent, observer, members)
            for member in members[::2]:
                agent.leave(member)
                self.becomes_absent(observer, member)
            answers, listed = observer.presence(members), observer.list_group(group)
        if listed is not None:
            assert set(listed.present) == {member.host for member in members[1::2]}
            assert listed.others.state is PresenceState.ABSENT
        assert states({one: answers[one] for one in members[1::2]}) == {PresenceState.PRESENT}
        assert states({one: answers[one] for one in members[::2]}) == {PresenceState.ABSENT}

    def test_thousands_of_members_are_one_question(
        self, agent: Driver, observer: Driver, group: str
    ) -> None:
        """The number of round trips does not grow with the list, and no answer is another's."""
        members = [Member(group, f"host-{number}") for number in range(MANY)]
        with self.beating(agent, members[::1000]):
            self.joins(agent, observer, members[::1000])
            best, tries = float("inf"), 5
            while best >= IN_ONE and tries:
                tries -= 1
                begun = time.monotonic()
                answers = observer.presence(members)
                best = min(best, time.monotonic() - begun)
        assert set(answers) == set(members)
        present = {m for m, answer in answers.items() if answer.state is PresenceState.PRESENT}
        assert present == set(members[::1000])
        assert best < IN_ONE, f"{MANY} members took {best:.2f} s at best"

    def test_a_handle_is_shared_between_threads(
        self, agent: Driver, observer: Driver, group: str
    ) -> None:
        """Heartbeats and questions of many threads at once do not mix up their answers."""
        start = threading.Barrier(8)

        def live(number: int) -> None:
            member = Member(group, f"host-{number}")
            start.wait()
            for incarnation in range(1, 20):
                agent.heartbeat(member, incarnation, self.ttl)
                answers = agent.presence([member])
                assert set(answers) == {member}
            self.becomes_present(observer, member, 19)
            agent.leave(member)
            self.becomes_absent(observer, member)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(live, range(8)))

    def test_the_shared_options_lead_to_the_same_backend(
        self, observer: Driver, member: Member
    ) -> None:
        """An agent told no more than them, as JSON, joins where the control plane looks."""
        told = msgspec.json.encode(observer.shared_options())
        agent = self.driver.from_options(msgspec.json.decode(told))
        try:
            self.joins(agent, observer, [member])
        finally:
            agent.close()

    def test_a_proof_makes_no_member(
        self, agent: Driver, observer: Driver, member: Member, crowd: list[Member]
    ) -> None:
        """Whether members could join is tried without anybody's joining or leaving (F-1)."""
        joined, *others = crowd
        self.joins(agent, observer, [joined])
        with self.beating(agent, [joined]):
            for _ in range(3):
                observer.prove(others[0])
            answers, listed = observer.presence(crowd), observer.list_group(member.group)
        assert [one for one in crowd if answers[one].state is PresenceState.PRESENT] == [joined]
        assert listed is None or set(listed.present) == {joined.host}

    def test_warnings_are_sentences_with_a_remedy(self, agent: Driver) -> None:
        """What an operator is told names what is so, a colon, and what to do about it."""
        for warning in agent.warnings():
            finding, colon, remedy = warning.partition(": ")
            assert finding
            assert colon
            assert remedy.endswith(".")

    def test_watching_calls_back_where_that_is_declared(
        self, agent: Driver, observer: Driver, member: Member
    ) -> None:
        """A driver that says it pushes names the member, or None; another accepts the callback."""
        called: list[Any] = []
        ask(observer, member)
        observer.watch(called.append)
        self.joins(agent, observer, [member])
        if self.driver.capabilities.pushes:
            self.eventually(
                lambda: any(hint is None or member in hint for hint in called), "a call"
            )
        else:
            assert called == []

    @pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
    def test_closing_is_idempotent(
        self, options: Mapping[str, Any], member: Member, used: bool
    ) -> None:
        """A handle can be closed twice, and without having been used."""
        handle = self.driver.from_options(options)
        if used:
            handle.heartbeat(member, 1, self.ttl)
        handle.close()
        handle.close()
