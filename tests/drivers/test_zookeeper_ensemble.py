"""Driver zookeeper on three servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drivers.ensembles import EnsembleContract
from servers.zookeeper import ZooKeeper, ZooKeeperEnsemble
from servicegroup.drivers.zookeeper.driver import ZooKeeperDriver

pytestmark = pytest.mark.long


class TestZooKeeperEnsemble(EnsembleContract):
    driver = ZooKeeperDriver
    ttl = 4.0

    @pytest.fixture
    def servers(self, own_zookeeper_ensemble: Callable[[], ZooKeeperEnsemble]) -> ZooKeeperEnsemble:
        return own_zookeeper_ensemble()

    @pytest.fixture
    def options(self, servers: ZooKeeperEnsemble) -> dict[str, Any]:
        return {"address": servers.address, "session_timeout": self.ttl, "tick_time": 0.5}

    def leads(self, server: ZooKeeper) -> bool:
        return server.mode() == "leader"
