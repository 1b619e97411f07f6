"""What the tests of driver zookeeper share: options, and the contract on a plain server."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from servers.process import LOOPBACK, free_port
from servers.zookeeper import ZooKeeper
from servicegroup.drivers.zookeeper.driver import ZooKeeperDriver
from servicegroup.testing import DriverContract


def plain(address: str, **options: Any) -> dict[str, Any]:
    """Return the options for a server, whose sessions are as short as it grants."""
    return {"address": address, "session_timeout": 2, "tick_time": 0.5, **options}


class ZooKeeperContract(DriverContract):
    """The contract on the module's ``server``, below a chroot where there is one."""

    driver = ZooKeeperDriver
    chroot: ClassVar[str] = ""

    @pytest.fixture
    def backend(self, server: ZooKeeper) -> ZooKeeper:
        return server

    @pytest.fixture
    def options(self, server: ZooKeeper) -> dict[str, Any]:
        return plain(f"{server.address}{self.chroot}")

    @pytest.fixture
    def nowhere(self) -> dict[str, Any]:
        where = f"{LOOPBACK}:{free_port()}{self.chroot}"
        return {"address": where, "session_timeout": 2}
