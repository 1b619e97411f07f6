"""Three servers that elect a leader: losing one accuses nobody, losing two is not knowing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from servicegroup.driver import Driver
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.testing.harness import SLACK, Harness, repeating, states

if TYPE_CHECKING:
    from servers.etcd import EtcdCluster
    from servers.zookeeper import ZooKeeperEnsemble

    Servers = EtcdCluster | ZooKeeperEnsemble


class EnsembleContract(Harness):
    """What holds for every backend with a leader; a subclass gives ``servers`` and ``options``."""

    patience = 40.0

    @pytest.fixture
    def servers(self) -> Servers:
        """Give three running servers of the test's own."""
        raise NotImplementedError

    @pytest.fixture
    def agents(self, options: Mapping[str, Any], crowd: Sequence[Member]) -> Iterator[list[Driver]]:
        """Give a handle for each member, so that they are spread over the servers."""
        with contextlib.ExitStack() as stack:
            handles = [self.driver.from_options(options) for _ in crowd]
            yield [stack.enter_context(contextlib.closing(handle)) for handle in handles]

    @pytest.fixture
    def accusations(
        self, agents: Sequence[Driver], observer: Driver, crowd: Sequence[Member]
    ) -> Iterator[list[Presence]]:
        """Give who is found absent while everybody heartbeats and is asked for without pause."""
        found: list[Presence] = []

        def look() -> None:
            answers = observer.presence(crowd).values()
            found.extend(answer for answer in answers if answer.state is PresenceState.ABSENT)

        with contextlib.ExitStack() as stack:
            for agent, member in zip(agents, crowd, strict=True):
                stack.enter_context(self.beating(agent, [member]))
            self.become_present(observer, crowd)
            stack.enter_context(repeating(look, 0.01))
            yield found

    def test_a_killed_leader_and_its_return_accuse_nobody(
        self,
        servers: Servers,
        observer: Driver,
        crowd: list[Member],
        accusations: list[Presence],
    ) -> None:
        for _ in range(2):
            leader = servers.leader()
            leader.kill()
            assert servers.leader() is not leader
            self.become_present(observer, crowd)
            leader.start()
        self.becomes_sure(observer, crowd)
        assert accusations == []

    def test_a_frozen_leader_accuses_nobody(
        self,
        servers: Servers,
        observer: Driver,
        crowd: list[Member],
        accusations: list[Presence],
    ) -> None:
        leader = servers.leader()
        leader.freeze()
        others = [server for server in servers.servers if server is not leader]
        self.eventually(lambda: any(map(self._leads, others)), "there is another leader")
        self.become_present(observer, crowd)
        leader.thaw()
        self.becomes_sure(observer, crowd)
        assert accusations == []

    def test_a_leader_that_dies_with_a_member_is_within_the_time_that_is_shown(
        self, servers: Servers, options: Mapping[str, Any], observer: Driver, member: Member
    ) -> None:
        """F-19: a new leader gives whoever has died its whole time again (ET-3)."""
        with self.living_elsewhere(options, member, 1) as process:
            self.become_present(observer, [member])
            process.kill()
            killed = time.monotonic()
            nearly = killed + self.ttl - 1
            self.eventually(lambda: time.monotonic() > nearly, "its time has nearly run out")
            servers.leader().kill()
            bound = self.bound_with_a_leaders_death(observer)
            self.becomes_absent(observer, member, within=bound)
        assert nearly + self.ttl - killed < time.monotonic() - killed < bound + SLACK

    def bound_with_a_leaders_death(self, observer: Driver) -> float:
        """Return the most seconds that detection takes when the leader dies too: what is shown."""
        return observer.detection_time(self.ttl)

    def test_without_a_quorum_nothing_is_known(
        self,
        servers: Servers,
        agents: list[Driver],
        observer: Driver,
        crowd: list[Member],
        accusations: list[Presence],
    ) -> None:
        for server in servers.servers[:2]:
            server.kill()
        self.eventually(
            lambda: states(observer.presence(crowd)) == {PresenceState.UNKNOWN},
            "nobody is known to be present (ET-5)",
        )
        # Each handle has a server of its own, which may notice later than the observer's.
        self.eventually(lambda: "quorum" in self.refusal(agents[0], crowd[0]), "it fails (ET-5)")
        servers.start()
        self.becomes_sure(observer, crowd)
        assert accusations == []

    def becomes_sure(self, observer: Driver, crowd: Sequence[Member]) -> None:
        """Wait until the absent would be called so again, and hear that all are present."""
        stranger = Member(crowd[0].group, "stranger")
        self.becomes_absent(observer, stranger)
        assert states(observer.presence(crowd)) == {PresenceState.PRESENT}

    def refusal(self, agent: Driver, member: Member) -> str:
        """Return why a heartbeat fails; nothing when it succeeds."""
        try:
            agent.heartbeat(member, 1, self.ttl)
        except DriverUnavailable as error:
            return str(error)
        return ""

    def leads(self, server: Any) -> bool:
        """Say whether one server leads. Raises OSError when it cannot say."""
        raise NotImplementedError

    def _leads(self, server: Any) -> bool:
        with contextlib.suppress(OSError):
            return self.leads(server)
        return False
