"""Driver etcd on three servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drivers.ensembles import EnsembleContract
from servers.etcd import Etcd, EtcdCluster
from servicegroup.driver import Driver
from servicegroup.drivers.etcd.driver import EtcdDriver
from servicegroup.model import Member, PresenceState

pytestmark = pytest.mark.long


class TestEtcdCluster(EnsembleContract):
    driver = EtcdDriver
    ttl = 4.0

    @pytest.fixture
    def servers(self, own_etcd_cluster: Callable[[], EtcdCluster]) -> EtcdCluster:
        return own_etcd_cluster()

    @pytest.fixture
    def options(self, servers: EtcdCluster) -> dict[str, Any]:
        return {"endpoints": ",".join(server.url for server in servers.servers)}

    def leads(self, server: Etcd) -> bool:
        return server.leads()

    def test_after_a_change_of_leader_a_missing_key_proves_nothing(
        self, servers: EtcdCluster, observer: Driver, member: Member
    ) -> None:
        """ET-4: a leader that stalled may end leases that its successor renewed."""
        self.becomes_absent(observer, member, within=self.patience)
        leader = servers.leader()
        other = next(server for server in servers.servers if server is not leader)
        leader.post("/v3/maintenance/transfer-leadership", targetID=other.id)
        self.eventually(other.leads, "another server leads")
        answer = observer.presence([member])[member]
        assert answer.state is PresenceState.UNKNOWN
        assert "new leader" in answer.detail
        self.becomes_absent(observer, member, within=self.patience)
