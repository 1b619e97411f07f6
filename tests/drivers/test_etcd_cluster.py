"""Driver etcd on three servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drivers.ensembles import EnsembleContract
from servers.etcd import Etcd, EtcdCluster
from servicegroup.drivers.etcd.driver import EtcdDriver

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
