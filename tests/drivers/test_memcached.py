"""Driver ``memcached`` on real servers: the contract, and what a miss is worth."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from pymemcache.client.base import Client

from servers.memcached import Memcached
from servers.plugin import require
from servers.process import LOOPBACK, Ensemble, ask, free_port
from servicegroup.drivers.memcached.driver import MemcachedDriver, member_key
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.testing import DriverContract
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handles = Callable[..., MemcachedDriver]

CROWD = [Member("compute", f"host-{number}") for number in range(60)]
PRESENT, ABSENT, UNKNOWN = PresenceState.PRESENT, PresenceState.ABSENT, PresenceState.UNKNOWN


class Fleet(Ensemble[Memcached]):
    """Several servers, treated alike."""

    def empty(self) -> None:
        for server in self.servers:
            assert ask(server.port, b"flush_all\r\n", b"\r\n") == b"OK\r\n"


class TestMemcached(DriverContract):
    driver = MemcachedDriver

    @pytest.fixture
    def backend(self, memcached_server: Memcached) -> Fleet:
        return Fleet([memcached_server])

    @pytest.fixture
    def options(self, backend: Fleet) -> dict[str, Any]:
        return {"servers": backend.address}

    @pytest.fixture
    def nowhere(self) -> dict[str, Any]:
        return {"servers": f"{LOOPBACK}:{free_port()}"}


@pytest.fixture(scope="module")
def three(memcached_server: Memcached) -> Iterator[Fleet]:
    with Memcached() as second, Memcached() as third:
        yield Fleet([memcached_server, second, third])


@pytest.mark.long
class TestThreeMemcached(TestMemcached):
    @pytest.fixture
    def backend(self, three: Fleet) -> Fleet:
        return three


@pytest.fixture
def handles() -> Iterator[Handles]:
    """Make handles on servers; they are closed at the end."""
    made: list[MemcachedDriver] = []

    def make(*servers: Memcached, **options: Any) -> MemcachedDriver:
        addresses = ",".join(server.address for server in servers)
        made.append(MemcachedDriver.from_options({"servers": addresses, **options}))
        return made[-1]

    yield make
    for handle in made:
        handle.close()


def beat(agent: MemcachedDriver, ttl: float = 30) -> None:
    for member in CROWD:
        agent.heartbeat(member, 1, ttl)


def states(answers: dict[Member, Presence]) -> set[PresenceState]:
    return {answer.state for answer in answers.values()}


def settle(agent: MemcachedDriver, observer: MemcachedDriver) -> None:
    """Join with a short time to live and wait until misses are believed on every server."""
    beat(agent, 1)
    strangers = [Member("strangers", f"host-{number}") for number in range(60)]
    until(lambda: states(observer.presence(strangers)) == {ABSENT})


def test_a_dead_server_is_unknown_for_the_keys_it_owns(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    servers = [own_memcached() for _ in range(3)]
    agent, observer = handles(*servers), handles(*servers)
    settle(agent, observer)
    beat(agent)
    servers[0].kill()
    answers = observer.presence(CROWD)
    unknown = [answer for answer in answers.values() if answer.state is UNKNOWN]
    assert states(answers) == {PRESENT, UNKNOWN}
    assert all(servers[0].address in answer.detail for answer in unknown)
    servers[0].start()
    assert states(observer.presence(CROWD)) == {PRESENT, UNKNOWN}
    assert states(handles(*servers).presence(CROWD)) == {PRESENT, UNKNOWN}
    beat(agent)
    assert states(observer.presence(CROWD)) == {PRESENT}


def test_a_restart_is_seen_by_an_observer_that_starts_after_it(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    server = own_memcached()
    agent = handles(server)
    settle(agent, handles(server))
    beat(agent, 2)
    server.restart()
    assert "was restarted or emptied" in handles(server).presence(CROWD)[CROWD[0]].detail
    agent.heartbeat(CROWD[0], 1, 2)
    answers = handles(server).presence(CROWD)
    assert answers.pop(CROWD[0]).state is PRESENT
    assert states(answers) == {UNKNOWN}
    until(lambda: states(handles(server).presence(CROWD)) == {ABSENT})


def test_a_long_freeze_is_seen_by_an_observer_that_starts_after_it(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    server = own_memcached()
    agent = handles(server, answer_timeout=0.2)
    settle(agent, handles(server))
    beat(agent, 1)
    server.freeze()
    expired = time.monotonic() + agent.detection_time(1) + 0.5
    while time.monotonic() < expired:
        with pytest.raises(DriverUnavailable):
            agent.heartbeat(CROWD[0], 1, 1)
    server.thaw()
    agent.heartbeat(CROWD[0], 1, 1)
    answers = handles(server).presence(CROWD)
    assert answers.pop(CROWD[0]).state is PRESENT
    assert states(answers) == {UNKNOWN}


class Warm(Memcached):
    """A server that keeps its keys over a restart in good order (-e)."""

    stop_signal = signal.SIGUSR1

    def __init__(self) -> None:
        super().__init__()
        self.arguments = ("-e", str(self.directory / "memory"))

    def restart(self) -> None:
        """It keeps nothing where it starts within the second that it was stopped in."""
        self.stop()
        stopped = int(time.time())
        until(lambda: time.time() > stopped + 1)
        self.start()


@pytest.fixture
def warm() -> Iterator[Warm]:
    require(Memcached)
    with Warm() as server:
        yield server


def test_a_warm_restart_prolongs_nobodys_life(warm: Warm, handles: Handles) -> None:
    """F-22: what the server kept still ends at its own time, in which it was away included."""
    agent, observer = handles(warm), handles(warm)
    agent.heartbeat(CROWD[0], 1, 4)
    beaten = time.monotonic()
    agent.heartbeat(CROWD[1], 1, 30)
    warm.restart()
    members = CROWD[:2]
    assert states(observer.presence(members)) == {PRESENT}, "it has kept them"
    until(lambda: observer.presence(members)[CROWD[0]].state is not PRESENT)
    assert time.monotonic() - beaten < observer.detection_time(4) + 1
    assert observer.presence(members)[CROWD[1]].state is PRESENT


def test_who_expired_while_a_server_was_away_is_not_missed_after_a_warm_restart(
    warm: Warm, handles: Handles
) -> None:
    """F-22: the canary was kept, and no agent has come back yet to say that it lost its key."""
    agent = handles(warm)
    settle(agent, handles(warm))
    beat(agent, 1)
    warm.stop()
    expired = time.monotonic() + agent.detection_time(1)
    until(lambda: time.monotonic() > expired)
    warm.start()
    for observer in (handles(warm), handles(warm)):
        answers = observer.presence(CROWD)
        assert states(answers) == {UNKNOWN}
        assert "recovering" in answers[CROWD[0]].detail
    beat(agent)
    assert states(handles(warm).presence(CROWD)) == {PRESENT}


def test_a_server_that_evicts_is_not_believed(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    server = own_memcached(memory=2)
    agent, observer = handles(server), handles(server)
    settle(agent, observer)
    beat(agent)
    assert states(observer.presence(CROWD)) == {PRESENT}
    neighbour = Client((LOOPBACK, server.port))
    for start in range(0, 200_000, 10_000):
        neighbour.set_many({f"other-{n}": b"x" * 20 for n in range(start, start + 10_000)})
    neighbour.close()
    answers = observer.presence(CROWD)
    assert UNKNOWN in states(answers)
    assert ABSENT not in states(answers) | states(handles(server).presence(CROWD))


def test_evictions_are_noticed_where_the_canary_was_spared(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    """MC-4: the server's own counter says that a miss proves nothing."""
    server = own_memcached(memory=2)
    agent, observer = handles(server), handles(server)
    settle(agent, observer)
    beat(agent)
    neighbour = Client((LOOPBACK, server.port))
    canary = neighbour.get("servicegroup:canary")
    for number in range(60):
        neighbour.set(f"ballast-{number}", b"x" * 100_000, noreply=False)
    for member in CROWD:
        neighbour.delete(member_key(member), noreply=False)
    neighbour.set("servicegroup:canary", canary, noreply=False)
    neighbour.close()
    answers = observer.presence(CROWD)
    assert states(answers) == {UNKNOWN}
    assert "evicted keys" in answers[CROWD[0]].detail


def test_the_order_of_the_servers_does_not_matter(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    servers = [own_memcached() for _ in range(3)]
    beat(handles(*servers))
    assert states(handles(*reversed(servers)).presence(CROWD)) == {PRESENT}


@pytest.mark.parametrize(("joined", "asked"), [(3, 2), (2, 3)])
def test_an_observer_with_another_list_accuses_nobody(
    own_memcached: Callable[..., Memcached], handles: Handles, joined: int, asked: int
) -> None:
    servers = [own_memcached() for _ in range(3)]
    agent, observer = handles(*servers[:joined]), handles(*servers[:asked])
    settle(agent, handles(*servers[:joined]))
    beat(agent)
    answers = observer.presence(CROWD)
    assert states(answers) == {PRESENT, UNKNOWN}
    details = {answer.detail for answer in answers.values() if answer.state is UNKNOWN}
    assert any("another list of servers" in detail for detail in details)


def test_an_observer_that_still_names_a_replaced_server_accuses_nobody(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    """On the server that nobody uses any more, the old list's canary is still in order."""
    kept, replaced, added = (own_memcached() for _ in range(3))
    settle(handles(kept, replaced), handles(kept, replaced))
    beat(handles(kept, added))
    # Whether anybody is still found where the old list looks depends on the servers' ports.
    answers = states(handles(kept, replaced).presence(CROWD))
    assert UNKNOWN in answers
    assert ABSENT not in answers


def test_while_a_server_is_added_nobody_is_accused(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    """Half of the agents and one of two observers already know the third server."""
    servers = [own_memcached() for _ in range(3)]
    old, new = handles(*servers[:2]), handles(*servers)
    settle(old, old)
    for _ in range(3):
        for number, member in enumerate(CROWD):
            (old if number % 2 else new).heartbeat(member, 1, 30)
        for observer in (old, new, handles(*servers[:2]), handles(*servers)):
            assert ABSENT not in states(observer.presence(CROWD))
    beat(new, 1)
    stranger = [Member("strangers", f"host-{number}") for number in range(60)]
    assert states(new.presence(stranger)) == {UNKNOWN}


def test_after_a_server_was_added_misses_are_believed_again(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    servers = [own_memcached() for _ in range(3)]
    old, new = handles(*servers[:2]), handles(*servers)
    settle(old, old)
    settle(new, new)


def test_frozen_servers_do_not_starve_the_others(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    servers = [own_memcached() for _ in range(6)]
    agent, observer = handles(*servers), handles(*servers)
    beat(agent)
    frozen = sorted(servers, key=lambda server: server.address)[:5]
    for server in frozen:
        server.freeze()
    for _ in range(2):
        begun = time.monotonic()
        answers = observer.presence(CROWD)
        assert time.monotonic() - begun < 3, "all at once: one answer_timeout, not five (F-18)"
    for server in frozen:
        server.thaw()
    assert states(answers) == {PRESENT, UNKNOWN}


def test_a_strange_value_is_unknown_and_overwritten(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    server = own_memcached()
    agent, member = handles(server), CROWD[0]
    for garbage in (b"", b"5", b"x 1", b"1 nan", b"\xff\x00\r\nEND\r\n", b"9" * 9999):
        stranger = Client((LOOPBACK, server.port))
        stranger.set(member_key(member), garbage, noreply=False)
        assert agent.presence([member])[member].state is UNKNOWN
        agent.leave(member, 1)
        agent.heartbeat(member, 1, 30)
        assert agent.presence([member])[member].incarnations == {1}
        stranger.set(member_key(member), garbage, noreply=False)
        agent.leave(member)
        assert stranger.get(member_key(member)) is None
        stranger.close()


def test_the_newest_incarnation_keeps_the_key(
    memcached_server: Memcached, handles: Handles
) -> None:
    older, newer = handles(memcached_server), handles(memcached_server)
    member = Member("newest", "host")
    for incarnation, handle in ((1, older), (2, newer), (1, older)):
        handle.heartbeat(member, incarnation, 30)
    assert older.presence([member])[member].incarnations == {2}


def test_a_time_to_live_survives_a_second_that_the_clock_skips(
    memcached_server: Memcached, handles: Handles
) -> None:
    """MC-1: the key has two seconds more than the time to live has, by the server's own clock."""
    handle = handles(memcached_server)
    question = f"mg {member_key(CROWD[0])} t\r\n".encode()

    def seconds_left() -> int:
        handle.heartbeat(CROWD[0], 1, 3.5)
        return int(ask(memcached_server.port, question, b"\r\n").split()[1][1:])

    # A second may pass between the heartbeat and the question, but not each time.
    assert max(seconds_left() for _ in range(5)) == 4 + 2


def test_a_time_to_live_beyond_a_month_is_refused() -> None:
    """MC-2."""
    driver = MemcachedDriver.from_options({})
    month = 30 * 24 * 3600
    assert driver.detection_time(month - 2) == month
    for call in (
        lambda: driver.detection_time(month - 1),
        lambda: driver.heartbeat(CROWD[0], 1, month - 1),
    ):
        with pytest.raises(ConfigError, match="membership_ttl"):
            call()


@pytest.mark.parametrize(
    "servers", ["", " , ", "host:", ":1", "host:0", "host:65536", "host:x", "[::1", "a b:1"]
)
def test_what_is_no_list_of_servers_is_refused(servers: str) -> None:
    with pytest.raises(ConfigError, match="servers"):
        MemcachedDriver.from_options({"servers": servers})


def test_agents_are_told_the_servers() -> None:
    options = {"servers": "b:1,a", "answer_timeout": "0.5", "tls": "true"}
    driver = MemcachedDriver.from_options(options)
    assert driver.shared_options() == {
        "servers": "b:1,a",
        "connect_timeout": 1.0,
        "answer_timeout": 0.5,
        "username": "",
        "tls": True,
    }


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ca": __file__}, "tls = true"),
        ({"tls": True, "keyfile": __file__}, "certfile"),
        ({"tls": True, "ca": "/no/such/file"}, "ca = /no/such/file"),
        ({"tls": True, "ca": __file__}, "ca = "),
    ],
)
def test_files_that_cannot_work_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        MemcachedDriver.from_options(options)


def test_a_server_without_members_does_not_keep_an_old_list(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    """The only agent that is left has its key on one of three servers."""
    servers = [own_memcached() for _ in range(3)]
    settle(handles(*servers[:2]), handles(*servers[:2]))
    agent, observer = handles(*servers), handles(*servers)
    agent.heartbeat(CROWD[0], 1, 1)
    strangers = [Member("strangers", f"host-{number}") for number in range(60)]
    until(lambda: states(observer.presence(strangers)) == {ABSENT})


def test_a_server_that_evicts_is_warned_of(
    own_memcached: Callable[..., Memcached], handles: Handles
) -> None:
    """MC-4."""
    server = own_memcached(memory=2)
    driver = handles(server)
    assert driver.warnings() == []
    ballast = Client(server.address)
    for number in range(60):
        ballast.set(f"ballast-{number}", b"x" * 100_000, noreply=False)
    ballast.close()
    (warning,) = driver.warnings()
    assert f"memcached {server.address} has evicted" in warning
    server.freeze()
    with pytest.raises(DriverUnavailable):
        driver.warnings()
    server.thaw()
