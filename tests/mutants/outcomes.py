"""A pytest plugin that writes how each test ended, a line of JSON each, to ``$MUTANT_OUTCOMES``.

A mutant is caught by an assertion. Any other error may mean that it is no working program, or that
the test could not even begin.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

ASSERTION = "assertion"

_caught_by: set[str] = set()
"""The killers of which a case failed by an assertion, as they are named in the catalogue."""


class Outcome(msgspec.Struct, frozen=True):
    """How one test ended: nothing was raised, an ASSERTION failed, or what else was raised.

    ``killer`` is what was asked for that the test is, or is a case of.
    """

    test: str
    killer: str
    raised: str = ""


def pytest_collection_finish() -> None:
    """Let hypothesis stop at its first failure, and be as slow as the machine is."""
    if "hypothesis" in sys.modules:  # importing it takes longer than most tests
        from hypothesis import HealthCheck, Phase, settings

        settings.register_profile(
            "mutants",
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=(HealthCheck.too_slow,),
        )
        settings.load_profile("mutants")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Pass over the other cases of a killer that has caught the mutant: one has to."""
    if _killer_of(item) in _caught_by:
        pytest.skip("another case of it caught the mutant")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    error = call.excinfo and call.excinfo.value
    killer = _killer_of(item)
    if killer not in _caught_by and (call.when == "call" or (call.when == "setup" and error)):
        raised = _kind(error) if call.when == "call" else f"{error!r} before it began"
        if raised == ASSERTION:
            _caught_by.add(killer)
        with Path(os.environ["MUTANT_OUTCOMES"]).open("ab") as file:
            file.write(msgspec.json.encode(Outcome(item.nodeid, killer, raised)) + b"\n")
    return report


def _killer_of(item: pytest.Item) -> str:
    """Return the killer that a test is a case of."""
    name = item.nodeid
    asked = (arg for arg in item.config.args if name == arg or name.startswith(f"{arg}["))
    return next(asked, name)


def _kind(error: BaseException | None) -> str:
    if error is None:
        return ""
    if _is_assertion(error):
        return ASSERTION
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _is_assertion(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):  # hypothesis found several
        return all(map(_is_assertion, error.exceptions))
    return isinstance(error, AssertionError | pytest.fail.Exception)
