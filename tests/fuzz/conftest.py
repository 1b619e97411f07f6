"""One running control plane for all that is thrown at it; it must outlive everything.

FUZZ_EXAMPLES is how many examples each property and each operation gets; set it high for a soak.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from servers.memcached import Memcached
from support.control_plane import ControlPlane

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
TOKEN = "fuzz-admin"

# The machine's pauses are not the code's.
settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
fuzzed = settings.get_profile("fuzz")
"""For a property that asks a server."""
thoroughly = settings(fuzzed, max_examples=8 * EXAMPLES)
"""For a property that costs nothing."""


@pytest.fixture(scope="module")
def plane(
    tmp_path_factory: pytest.TempPathFactory, memcached_server: Memcached
) -> Iterator[ControlPlane]:
    """Give a control plane that asks for a token and has a shadow driver, so that no route is idle.

    Afterwards its log must hold no traceback: each is an error that nobody foresaw.
    """
    directory = tmp_path_factory.mktemp("plane")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory)
    plane.configure(
        f"[api]\nauth_strategy = token\ntoken = admin:{digest}\n"
        f"[memcached]\nservers = {memcached_server.address}\n",
        servicegroup_shadow_driver="memcached",
    )
    plane.start()
    yield plane
    plane.stop()
    assert "Traceback" not in plane.log()
