"""What the tests of the nemesis' parts have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from nemesis.ways import MakeWay
from servers.proxy import Proxy

pytest.register_assert_rewrite("nemesis.short")  # a promise that was broken is told in full


@pytest.fixture
def way() -> Iterator[MakeWay]:
    with ExitStack() as stack:

        def made(ports: Sequence[int]) -> Sequence[Proxy]:
            return [stack.enter_context(Proxy(port)) for port in ports]

        yield made
