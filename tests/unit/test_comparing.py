"""Comparing with the shadow driver is the work of the process that observes."""

from __future__ import annotations

import asyncio

import pytest

from servicegroup.controlplane import background
from servicegroup.group import ServiceGroup


def test_only_the_process_that_observes_compares(
    group: ServiceGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[bool] = []
    compared: list[bool] = []

    def observes() -> bool:
        rounds.append(len(rounds) == 2)
        if len(rounds) == 4:
            raise asyncio.CancelledError
        return rounds[-1]

    monkeypatch.setattr(background, "PAUSE", 0.0)
    monkeypatch.setattr(group, "shadow", group.driver)
    monkeypatch.setattr(group, "compare", lambda: compared.append(rounds[-1]))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(background.run_comparison(group, observes))
    assert compared == [True]
