"""Driver zookeeper: the contract on one server, and what only ZooKeeper has."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.client import KazooClient

from drivers.zookeeper_contract import ZooKeeperContract, plain
from servers.plugin import require
from servers.process import LOOPBACK
from servers.zookeeper import ZooKeeper
from servicegroup.drivers.zookeeper.client import AddWatch
from servicegroup.drivers.zookeeper.driver import ZooKeeperDriver, ZooKeeperOptions
from servicegroup.drivers.zookeeper.nodes import Node, component, parse
from servicegroup.drivers.zookeeper.view import View
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.testing.harness import ask, repeating
from servicegroup.testing.membership import MembershipContract
from support.waiting import until

Make = Callable[..., ZooKeeperDriver]

UNKNOWN_REQUEST = 206
"""A request no server has, as AddWatch is to those before 3.6; the answer is the same."""


@pytest.fixture(scope="module")
def server() -> Iterator[ZooKeeper]:
    require(ZooKeeper)
    with ZooKeeper() as server:
        yield server


class TestZooKeeper(ZooKeeperContract):
    """On the server that Debian has."""


class Experienced(ZooKeeperDriver):
    """A handle that has found out that its server has no lasting watches.

    Such a server closes the connection over the request, whatever else is under way on it.
    """

    def __init__(self, options: ZooKeeperOptions) -> None:
        super().__init__(options)
        until(self._has_listed)

    def _has_listed(self) -> bool:
        answer = ask(self, Member("nobody", "nobody"))
        return answer.state is PresenceState.ABSENT or "recovering" in answer.detail


@pytest.mark.long
class TestZooKeeperBefore36(MembershipContract):
    """Servers without lasting watches: what changed is listed anew (ZK-9)."""

    driver = Experienced

    @pytest.fixture
    def options(self, server: ZooKeeper, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        monkeypatch.setattr(AddWatch, "type", UNKNOWN_REQUEST)
        return plain(server.address)


@pytest.fixture
def make(server: ZooKeeper) -> Iterator[Make]:
    """Make handles on the server that are closed with the test."""
    with contextlib.ExitStack() as stack:

        def made(**options: Any) -> ZooKeeperDriver:
            handle = ZooKeeperDriver.from_options(plain(**{"address": server.address, **options}))
            return stack.enter_context(contextlib.closing(handle))

        yield made


@pytest.fixture
def member(request: pytest.FixtureRequest) -> Member:
    return Member(request.node.name, "host-1")


@pytest.fixture
def raw(server: ZooKeeper) -> Iterator[KazooClient]:
    """Somebody else with access to the server."""
    client = KazooClient(server.address)
    client.start(10)
    yield client
    client.stop()
    client.close()


def state(driver: ZooKeeperDriver, member: Member) -> PresenceState:
    return ask(driver, member).state


def joins(agent: ZooKeeperDriver, observer: ZooKeeperDriver, member: Member) -> None:
    agent.heartbeat(member, 1, 60)
    until(lambda: state(observer, member) is PresenceState.PRESENT)


def own_node(agent: ZooKeeperDriver, member: Member) -> tuple[int, str]:
    """Return the number of a connected handle's session, and the path of the node it makes."""
    client = agent._process.session._client
    assert client is not None
    return agent._process.own._node(client, member, 1)


def view_of(observer: ZooKeeperDriver, member: Member) -> View:
    return observer._process.views._views[component(member.group)]


def expire(server: ZooKeeper, driver: ZooKeeperDriver) -> None:
    """End a living process's session, as a server does that no longer hears it."""
    identity = driver._process.session._client.client_id  # type: ignore[union-attr]
    thief = KazooClient(server.address, client_id=identity)
    thief.start(10)
    thief.stop()
    thief.close()


# -- sessions ------------------------------------------------------------------------------


def test_a_lost_session_heals_without_a_heartbeat(
    server: ZooKeeper, make: Make, member: Member
) -> None:
    agent, observer = make(), make()
    joins(agent, observer, member)
    before = ask(observer, member)
    expire(server, agent)

    def returned() -> bool:
        now = ask(observer, member)
        return now.state is PresenceState.PRESENT and now.detail != before.detail

    until(returned, what="the member is back on another session (ZK-2)")
    assert ask(observer, member).incarnations == {1}


def test_whoever_has_left_or_ceased_stays_away_when_the_session_returns(
    server: ZooKeeper, make: Make, member: Member
) -> None:
    agent, observer = make(), make()
    ceased = Member(member.group, "ceased")
    joins(agent, observer, member)
    agent.leave(member, 1)
    agent.heartbeat(ceased, 1, 0.001)
    expire(server, agent)
    until(lambda: agent._process.session.connection == 2)
    joins(agent, observer, Member(member.group, "other"))  # whatever was asked before is done
    assert state(observer, ceased) is PresenceState.ABSENT
    assert state(observer, member) is PresenceState.ABSENT


def test_a_node_under_the_own_name_that_is_somebody_elses_is_replaced(
    make: Make, member: Member, raw: KazooClient
) -> None:
    agent, observer = make(), make()
    state(agent, member)  # connects
    session, path = own_node(agent, member)
    raw.create(path, makepath=True)  # it would stay for ever
    joins(agent, observer, member)
    assert raw.exists(path).ephemeralOwner == session
    agent.close()
    until(lambda: state(observer, member) is PresenceState.ABSENT)


def test_a_worker_that_leaves_takes_no_other_along(make: Make, member: Member) -> None:
    """ZK-15: the workers of a service live under one number, each with a node of its own."""
    first, second, observer = make(), make(), make()
    for worker in (first, second):
        joins(worker, observer, member)
    first.leave(member, 1)
    session, path = own_node(second, member)
    client = second._process.session._client
    assert client is not None
    # What was deleted is gone when the leave returns; the observer hears of one node at a time.
    assert client.exists(path) is not None
    until(lambda: ask(observer, member).detail == f"session 0x{session:x}")


@pytest.mark.parametrize(("asked", "granted"), [(0.1, 1.0), (4, 4.0), (100, 10.0)])
def test_the_timeout_in_effect_is_the_one_granted(
    make: Make, member: Member, asked: float, granted: float
) -> None:
    observer = make(session_timeout=asked)
    assert observer.detection_time(10) == pytest.approx(asked + 2 + asked + 0.5 + 0.3)
    assert f"{granted:g} s" in ask(observer, member).detail
    assert observer.detection_time(10) == pytest.approx(granted + 2 + granted + 0.5 + 0.3)


# -- watching ------------------------------------------------------------------------------


def test_crashes_are_pushed_within_the_timeout_a_tick_and_a_third_of_a_second(
    server: ZooKeeper, make: Make, member: Member
) -> None:
    """With a session of 2 s and a tick of 0.5 s, from SIGKILL to the callback: design 9."""
    contract, observer = TestZooKeeper(), make()
    members = [Member(member.group, f"host-{number}") for number in range(4)]
    pushed: dict[Member, float] = {}

    def note(changed: Collection[Member] | None) -> None:
        pushed.update((one, time.monotonic()) for one in changed or ())

    assert observer.presence(members)
    observer.watch(note)
    killed = {}
    with contextlib.ExitStack() as stack:
        lives = {
            one: stack.enter_context(contract.living_elsewhere(plain(server.address), one, 1))
            for one in members
        }
        contract.become_present(observer, members)
        for one, process in lives.items():
            process.kill()
            killed[one] = time.monotonic()
            contract.becomes_absent(observer, one)
    took = [pushed[one] - killed[one] for one in members]
    assert max(took) <= 2.0 + 0.5 + 0.3


def test_a_watched_group_is_listed_once(make: Make, member: Member) -> None:
    agent, observer = make(), make()
    members = [Member(member.group, f"host-{number}") for number in range(20)]
    observer.presence(members)
    view = view_of(observer, members[0])
    listed = view._listed_at
    for one in members:
        joins(agent, observer, one)
    agent.leave(members[0])
    until(lambda: state(observer, members[0]) is PresenceState.ABSENT)
    assert view._listed_at == listed


def test_without_lasting_watches_listings_are_coalesced(
    make: Make, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AddWatch, "type", UNKNOWN_REQUEST)
    agent, observer = make(), make()
    pushed: list[object] = []
    observer.watch(pushed.append)
    agent.heartbeat(Member(member.group, "first"), 1, 60)
    state(observer, member)
    view, listings = view_of(observer, member), set()
    begun, number = time.monotonic(), 0
    while time.monotonic() - begun < 1.2:
        number += 1
        agent.heartbeat(Member(member.group, f"host-{number}"), 1, 60)
        state(observer, member)
        listings.add(view._listed_at)
    assert len(listings) <= 4
    assert None in pushed
    last = Member(member.group, f"host-{number}")
    until(lambda: state(observer, last) is PresenceState.PRESENT)


def test_an_end_told_before_the_listing_is_stored_is_not_forgotten(
    make: Make, member: Member
) -> None:
    """A listing is stored in another thread than the events come in."""
    observer = make()
    state(observer, member)
    views = observer._process.views
    view, node = view_of(observer, member), Node(member.host, 1, 7)
    path = f"/servicegroups/{component(member.group)}/{node.name}"

    class Listing:
        def get(self, timeout: float) -> list[str]:
            views._change(path, exists=False)  # overtakes the listing that still has it
            return [node.name]

    views._journal = []
    views._store(view, Listing(), 1, time.monotonic() + 1)
    assert state(observer, member) is PresenceState.ABSENT


# -- outages -------------------------------------------------------------------------------


def test_while_suspended_the_answer_is_unknown_and_grows_older(
    server: ZooKeeper, make: Make, member: Member
) -> None:
    agent, observer = make(), make()
    joins(agent, observer, member)
    server.freeze()
    try:
        until(lambda: state(observer, member) is PresenceState.UNKNOWN)
        first = ask(observer, member)
        assert "suspended" in first.detail
        assert first.age is not None
        assert first.age >= 0.3
        later = first.age + 0.3
        until(lambda: (ask(observer, member).age or 0) > later)
    finally:
        server.thaw()
    until(lambda: state(observer, member) is PresenceState.PRESENT)
    assert (ask(observer, member).age or 0) < 2


def test_a_death_during_an_outage_is_found_after_one_session_timeout(
    server: ZooKeeper, make: Make, member: Member
) -> None:
    contract, agent, observer = TestZooKeeper(), make(), make()
    survivor = Member(member.group, "survivor")
    joins(agent, observer, survivor)
    with contract.living_elsewhere(plain(server.address), member, 1) as process:
        contract.becomes_present(observer, member, 1)
        server.freeze()
        process.kill()
    answers: list[Presence] = []
    # Asked all the while: the recovery may be over before the server is seen to answer.
    with (
        repeating(lambda: answers.append(ask(observer, member)), 0.01),
        contract.beating(agent, [survivor]),
    ):
        server.empty()
        contract.becomes_present(observer, survivor, 1)
        contract.becomes_absent(observer, member)
        assert state(observer, survivor) is PresenceState.PRESENT
    before = list(itertools.takewhile(lambda a: a.state is not PresenceState.ABSENT, answers))
    unknown = {answer.detail for answer in before if answer.state is PresenceState.UNKNOWN}
    assert any("recovering" in detail for detail in unknown), unknown


def test_a_server_that_does_not_answer_is_passed_over_in_time(
    server: ZooKeeper, make: Make, member: Member
) -> None:
    """One that drops packets must not eat the session: a host without power does that."""
    with socket.socket() as hole, contextlib.ExitStack() as stack:
        hole.bind((LOOPBACK, 0))
        hole.listen(0)
        port = hole.getsockname()[1]
        for _ in range(3):  # fill its queue: further connections are not even refused
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((LOOPBACK, port))
        for incarnation in range(8):  # each begins with either of the two
            handle = make(address=f"{LOOPBACK}:{port},{server.address}")
            handle.heartbeat(member, incarnation, 60)
            assert incarnation in ask(handle, member).incarnations


def test_a_root_of_ones_own_is_made_when_it_is_missing(
    server: ZooKeeper, make: Make, member: Member, raw: KazooClient
) -> None:
    address = f"{server.address}/{component(member.group)}"
    joins(make(address=address), make(address=address), member)
    assert raw.get_children(f"/{component(member.group)}") == ["servicegroups"]
    assert state(make(), member) is not PresenceState.PRESENT


# -- names ---------------------------------------------------------------------------------

names = st.text(max_size=300)
integers = st.integers(min_value=0, max_value=10**18 - 1)


@given(host=names.filter(bool), incarnation=integers, session=st.integers(0, 2**64 - 1))
def test_a_node_is_read_as_it_was_named(host: str, incarnation: int, session: int) -> None:
    node = Node(host, incarnation, session)
    assert parse(node.name) == node
    assert "/" not in node.name


@given(
    st.one_of(
        st.text(), st.from_regex(r"(a|%[0-9A-Fa-f]{2}|@)+@0?[0-9]+@[0-9a-f]+", fullmatch=True)
    )
)
def test_a_strangers_node_is_read_as_none_or_under_its_own_name(name: str) -> None:
    node = parse(name)
    assert node is None or node.name == name


@given(names, names)
def test_groups_are_components_and_no_two_are_one(first: str, second: str) -> None:
    assert (component(first) == component(second)) == (first == second)
    assert "/" not in component(first)
    assert component(first) not in (".", "..")


def test_nodes_of_strangers_are_passed_over(make: Make, member: Member, raw: KazooClient) -> None:
    agent, observer = make(), make()
    joins(agent, observer, member)
    group = f"/servicegroups/{component(member.group)}"
    for name in (
        "host-1",
        "host-1@x@y",
        "host-1@-1@0",
        f"host-1@{'9' * 5000}@1",
        "%ff@1@1",
        "@1@1",
    ):
        raw.create(f"{group}/{name}", b"\xff")
        raw.create(f"{group}/{name}/host-2@1@1")
    raw.create("/servicegroups/host-1@1@1@1")
    for handle in (observer, make()):
        answers = handle.presence([member, Member(member.group, "host-2")])
        assert [answer.state.value for answer in answers.values()] == ["present", "absent"]
        assert ask(handle, member).incarnations == {1}
    observer.leave(member)
    until(lambda: state(observer, member) is PresenceState.ABSENT)
