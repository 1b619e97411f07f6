"""Driver etcd: the contract on one server, and what only etcd has."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from servers.etcd import Etcd
from servers.plugin import require
from servers.process import LOOPBACK, free_port
from servicegroup.drivers.etcd.driver import EtcdDriver
from servicegroup.drivers.etcd.gateway import Gateway
from servicegroup.drivers.etcd.keys import Key, directory, parse
from servicegroup.model import Member, PresenceState
from servicegroup.testing import DriverContract
from servicegroup.testing.harness import ask, repeating
from support.waiting import until

Make = Callable[..., EtcdDriver]


class ForgetfulEtcd(Etcd):
    """A server that can lose its disk."""

    def empty(self) -> None:
        self.kill()
        shutil.rmtree(self.directory / "data")
        self.start()


@pytest.fixture(scope="module")
def server() -> Iterator[ForgetfulEtcd]:
    require(Etcd)
    with ForgetfulEtcd() as server:
        yield server


class TestEtcd(DriverContract):
    driver = EtcdDriver

    @pytest.fixture
    def backend(self, server: ForgetfulEtcd) -> ForgetfulEtcd:
        return server

    @pytest.fixture
    def options(self, server: ForgetfulEtcd) -> dict[str, Any]:
        return {"endpoints": server.url}

    @pytest.fixture
    def nowhere(self) -> dict[str, Any]:
        return {"endpoints": f"http://{LOOPBACK}:{free_port()}"}


@pytest.fixture
def make(server: Etcd) -> Iterator[Make]:
    """Make handles on the server that are closed with the test."""
    with contextlib.ExitStack() as stack:

        def made(**options: Any) -> EtcdDriver:
            handle = EtcdDriver.from_options({"endpoints": server.url, **options})
            return stack.enter_context(contextlib.closing(handle))

        yield made


@pytest.fixture
def member(request: pytest.FixtureRequest) -> Member:
    return Member(request.node.name, "host-1")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what is asked of servers, by path."""
    paths: Counter[str] = Counter()
    genuine = Gateway.ask

    def ask(self: Gateway, path: str, *question: Any) -> Any:
        paths[path] += 1
        return genuine(self, path, *question)

    monkeypatch.setattr(Gateway, "ask", ask)
    return paths


def raw(server: Etcd, path: str, **question: Any) -> dict[str, Any]:
    """Ask the server as somebody else would; bytes are encoded."""
    encoded = {
        key: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for key, value in question.items()
    }
    with urllib3.PoolManager() as http:
        answer: dict[str, Any] = http.request(
            "POST", f"{server.url}/v3/{path}", json=encoded
        ).json()
    return answer


def state(driver: EtcdDriver, member: Member) -> PresenceState:
    return ask(driver, member).state


# -- leases --------------------------------------------------------------------------------


def test_all_members_of_an_agent_are_on_one_lease_renewed_once_a_round(
    server: Etcd, make: Make, member: Member, asked: Counter[str]
) -> None:
    agent, observer = make(), make()
    before = len(raw(server, "lease/leases").get("leases", []))
    members = [Member(member.group, f"host-{number}") for number in range(50)]
    for _ in range(3):
        for one in members:
            agent.heartbeat(one, 1, 60)
    assert len(raw(server, "lease/leases")["leases"]) == before + 1
    assert asked["lease/grant"] == 1
    assert asked["lease/keepalive"] <= 1
    assert asked["kv/put"] == len(members)
    observer.presence(members)
    assert asked["kv/txn"] == 1


@pytest.mark.parametrize(("asked_for", "granted"), [(0.5, 2), (4.2, 5)])
def test_the_time_to_live_in_effect_is_the_one_granted(
    make: Make, member: Member, asked_for: float, granted: int
) -> None:
    agent, observer = make(), make()
    agent.heartbeat(member, 1, asked_for)
    assert f"of {granted} s" in ask(observer, member).detail
    assert agent.detection_time(asked_for) == 2 * granted + 3
    assert observer.detection_time(asked_for) == 2 * granted + 3


def test_a_lease_that_ends_between_two_heartbeats_is_replaced(
    server: Etcd, make: Make, member: Member
) -> None:
    """Even while the last renewal is so fresh that it is not repeated."""
    agent, observer = make(), make()
    agent.heartbeat(member, 1, 60)
    [lease] = agent._process.own._leases.values()
    raw(server, "lease/revoke", ID=str(lease.id))
    assert state(observer, member) is PresenceState.ABSENT
    agent.heartbeat(member, 1, 60)
    assert state(observer, member) is PresenceState.PRESENT


def test_a_key_that_is_on_another_lease_is_taken_over(
    server: Etcd, make: Make, member: Member
) -> None:
    agent, observer = make(), make()
    name = Key(member, 1).name("/servicegroups")
    raw(server, "kv/put", key=name, value=b"it would stay for ever")
    agent.heartbeat(member, 1, 60)
    agent.close()
    assert state(observer, member) is PresenceState.ABSENT


# -- reading -------------------------------------------------------------------------------


def test_many_groups_are_asked_for_in_few_questions(
    make: Make, member: Member, asked: Counter[str]
) -> None:
    agent, observer = make(), make()
    members = [Member(f"{member.group}-{number}", "host") for number in range(250)]
    agent.heartbeat(members[-1], 1, 60)
    answers = observer.presence(members)
    assert [one for one in members if answers[one].incarnations] == members[-1:]
    assert asked["kv/txn"] == 3


def test_a_store_that_grows_while_many_threads_read_is_not_taken_for_an_emptied_one(
    make: Make, member: Member
) -> None:
    agent, observer = make(), make()
    stranger = Member(member.group, "stranger")
    numbers = iter(range(1, 1_000_000))
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            look = lambda: state(observer, stranger)  # noqa: E731
            stack.enter_context(repeating(look, 0))
        for _ in range(200):
            agent.heartbeat(member, next(numbers), 60)
            assert state(observer, stranger) is PresenceState.ABSENT


def test_the_absent_read_unknown_for_a_time_to_live_after_the_store_was_emptied(
    server: ForgetfulEtcd, make: Make, member: Member
) -> None:
    agent, observer = make(), make()
    agent.heartbeat(member, 1, 3)
    assert state(observer, member) is PresenceState.PRESENT
    server.empty()
    answer = ask(observer, member)
    assert answer.state is PresenceState.UNKNOWN
    assert "recovering" in answer.detail
    until(lambda: state(observer, member) is PresenceState.ABSENT)


def test_unknown_has_the_age_of_the_last_answer(server: Etcd, make: Make, member: Member) -> None:
    observer = make(timeout=0.5)
    state(observer, member)
    server.freeze()
    try:
        first, second = ask(observer, member), ask(observer, member)
    finally:
        server.thaw()
    assert first.state is second.state is PresenceState.UNKNOWN
    assert "quorum" in first.detail
    assert first.age is not None
    assert second.age is not None
    assert 0.4 < first.age < second.age


# -- endpoints -----------------------------------------------------------------------------


def test_endpoints_that_do_not_answer_are_passed_over_in_time(
    server: Etcd, make: Make, member: Member
) -> None:
    """One refuses, one takes connections and is silent, one answers."""
    with socket.socket() as silent:
        silent.bind((LOOPBACK, 0))
        silent.listen()
        mute = f"http://{LOOPBACK}:{silent.getsockname()[1]}"
        handle = make(endpoints=f"http://{LOOPBACK}:{free_port()}, {mute}, {server.url}/")
        begun = time.monotonic()
        handle.heartbeat(member, 1, 60)
        assert state(handle, member) is PresenceState.PRESENT
        assert time.monotonic() - begun < 3, "it is not asked again before the one that answered"


def test_a_connection_the_server_has_closed_is_opened_again(
    server: Etcd, make: Make, member: Member
) -> None:
    handle = make()
    handle.heartbeat(member, 1, 60)
    server.restart()
    handle.heartbeat(member, 1, 60)
    assert state(handle, member) is PresenceState.PRESENT


def test_threads_that_heartbeat_into_a_frozen_server_are_all_told_in_time(
    server: Etcd, make: Make, member: Member
) -> None:
    handle = make(timeout=1)
    handle.heartbeat(member, 1, 0.5)
    server.freeze()
    took: list[float] = []

    def beat() -> None:
        begun = time.monotonic()
        with contextlib.suppress(Exception):
            handle.heartbeat(member, 1, 0.5)
        took.append(time.monotonic() - begun)

    threads = [threading.Thread(target=beat) for _ in range(10)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.thaw()
    assert len(took) == 10
    assert max(took) < 4


# -- names ---------------------------------------------------------------------------------

names = st.text(max_size=300)
lookalikes = st.from_regex(rb"/s/(a|%[0-9A-Fa-f]{2}|/)+/0?[0-9]+", fullmatch=True)


@given(group=names, host=names, incarnation=st.integers(0, 10**18 - 1))
def test_a_key_is_read_as_it_was_named(group: str, host: str, incarnation: int) -> None:
    key = Key(Member(group, host), incarnation)
    name = key.name("/s")
    assert parse("/s", name) == key
    assert name.startswith(directory("/s", group, host))
    assert name.count(b"/") == 4


@given(st.one_of(st.binary(), lookalikes))
def test_a_strangers_key_is_read_as_none_or_under_its_own_name(name: bytes) -> None:
    key = parse("/s", name)
    assert key is None or key.name("/s") == name


def test_keys_of_strangers_are_passed_over(server: Etcd, make: Make, member: Member) -> None:
    agent, observer = make(), make()
    agent.heartbeat(member, 1, 60)
    group = directory("/servicegroups", member.group)
    values = (b"", b"\xff", b"{}", b'{"ttl": 0}', b'{"ttl": 1e300}', b'{"ttl": "x"}', b"[" * 10_000)
    tails = (
        b"host-1/x",
        b"host-1/01",
        b"%ff/1",
        b"\xff/1",
        b"host-1/1/1",
        b"/",
        b"host-1/" + b"9" * 5000,
    )
    for number, tail in enumerate((*tails, b"host-2/1")):
        raw(server, "kv/put", key=group + tail, value=values[number % len(values)])
    answers = observer.presence([member, Member(member.group, "host-3")])
    assert [answer.state.value for answer in answers.values()] == ["present", "absent"]
    assert ask(observer, member).incarnations == {1}
    assert ask(observer, Member(member.group, "host-2")).incarnations == {1}
    observer.leave(member)
    assert state(observer, member) is PresenceState.ABSENT


def test_a_group_that_is_read_again_is_as_it_is_now(make: Make) -> None:
    """ET-6: what has changed is read, and all of it once somebody has gone."""
    agent, reader = make(), make()
    group = [Member("compute", f"host-{n}") for n in range(12)]
    for member in group[:10]:
        agent.heartbeat(member, 1, 30)
    for round_ in range(2):
        told = reader.presence(group)
        assert [m for m in group if told[m].state is PresenceState.PRESENT] == group[:10], round_
    agent.leave(group[0], 1)
    agent.heartbeat(group[10], 1, 30)
    agent.heartbeat(group[1], 2, 30)
    told = reader.presence(group)
    assert [m for m in group if told[m].state is PresenceState.PRESENT] == group[1:11]
    assert told[group[1]].incarnations == {1, 2}
    agent.heartbeat(group[11], 1, 30)
    assert reader.presence(group)[group[11]].state is PresenceState.PRESENT
    for member in group[1:11]:
        agent.leave(member)
    told = reader.presence(group)
    assert [m for m in group if told[m].state is PresenceState.PRESENT] == group[11:]
