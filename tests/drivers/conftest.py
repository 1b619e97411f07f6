"""Which of the contract's tests are long: those that crash members, and take backends away."""

from __future__ import annotations

import pytest

from servicegroup.testing import crashes, outages, refusals

LONG = (crashes.__name__, outages.__name__, refusals.__name__)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the contract's long tests, which know nothing of marks of ours."""
    for item in items:
        if isinstance(item, pytest.Function) and item.function.__module__ in LONG:
            item.add_marker("long")
