"""The driver contract: what every driver keeps, as tests to inherit, against a real backend.

A driver's test module is a class and the few lines that only its author can know::

    class TestConsul(DriverContract):
        driver = ConsulDriver

        @pytest.fixture
        def backend(self, consul):        # freeze, thaw, restart, empty: see Backend
            return consul

        @pytest.fixture
        def options(self, consul):        # plain values, as in the driver's section
            return {"address": consul.address}

        @pytest.fixture
        def nowhere(self):                # the same, leading to a port nobody listens on
            return {"address": "127.0.0.1:1"}

No test is optional and none is skipped: what backends cannot have in common is not asked here. One
whose writes can fail while reads succeed has a second class, of ``RefusalContract``.
Two handles are used throughout, the agent's and the control plane's (``observer``), since one
alone may be answering from its own memory. A crash is a process killed with SIGKILL, a hang is
SIGSTOP. Times are upper bounds, computed from the driver's own ``detection_time``.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "servicegroup.testing.crashes",
    "servicegroup.testing.membership",
    "servicegroup.testing.outages",
    "servicegroup.testing.refusals",
)

# Only modules imported after that line explain their failing asserts.
from servicegroup.testing.crashes import CrashContract  # noqa: E402
from servicegroup.testing.harness import Backend  # noqa: E402
from servicegroup.testing.membership import MembershipContract  # noqa: E402
from servicegroup.testing.outages import OutageContract  # noqa: E402
from servicegroup.testing.refusals import RefusalContract, Refusing  # noqa: E402

__all__ = ["Backend", "DriverContract", "RefusalContract", "Refusing"]


class DriverContract(MembershipContract, CrashContract, OutageContract):
    """Every promise of ``servicegroup.driver.Driver``; inherit it as ``class TestYours``."""
