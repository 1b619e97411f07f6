"""Which of the contract's tests are long, and what several files of a driver's tests need.

Long are those that crash members, and take backends away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from servicegroup.drivers.redis import RedisDriver
from servicegroup.testing import crashes, outages, refusals

LONG = (crashes.__name__, outages.__name__, refusals.__name__)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the contract's long tests, which know nothing of marks of ours."""
    for item in items:
        if isinstance(item, pytest.Function) and item.function.__module__ in LONG:
            item.add_marker("long")


@pytest.fixture
def redis_at() -> Iterator[Callable[..., RedisDriver]]:
    """Make handles of driver redis on a URL; they are closed at the end."""

    def make(url: str, **options: Any) -> RedisDriver:
        return stack.enter_context(closing(RedisDriver.from_options({"url": url, **options})))

    with ExitStack() as stack:
        yield make
