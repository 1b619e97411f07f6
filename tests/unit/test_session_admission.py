"""A fleet that comes at once opens its sessions in turn (LC-8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from servicegroup.controlplane import session_admission as module
from servicegroup.controlplane.session_admission import Admission
from servicegroup.errors import Unavailable


def run(scenario: Callable[[Admission], Awaitable[None]], at_once: int = 1) -> None:
    """Run a scenario with turns of its own."""

    async def main() -> None:
        await scenario(Admission(at_once))

    asyncio.run(main())


async def settled() -> None:
    """Let everything happen that waits for nothing else."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_came_first_is_first() -> None:
    order: list[str] = []

    async def scenario(admission: Admission) -> None:
        async def comes(name: str) -> None:
            turn = await admission.take()
            order.append(name)
            await asyncio.sleep(0)
            turn.end()

        await asyncio.gather(*map(comes, "abcd"))

    run(scenario)
    assert order == list("abcd")


def test_so_many_at_a_time() -> None:
    async def scenario(admission: Admission) -> None:
        coming = [asyncio.create_task(admission.take()) for _ in range(5)]
        await settled()
        assert [one.done() for one in coming] == [True, True, False, False, False]
        coming[0].result().end()
        coming[0].result().end()  # a turn ends once
        await settled()
        assert [one.done() for one in coming] == [True, True, True, False, False]
        admission.close()
        with pytest.raises(Unavailable, match="stopping"):
            await coming[3]
        with pytest.raises(Unavailable, match="stopping"):
            await coming[4]
        with pytest.raises(Unavailable, match="elsewhere"):
            await admission.take()

    run(scenario, 2)


def test_a_turn_that_comes_with_the_stop_is_none() -> None:
    async def scenario(admission: Admission) -> None:
        first = await admission.take()
        waiting = asyncio.create_task(admission.take())
        await settled()
        first.end()
        admission.close()
        with pytest.raises(Unavailable, match="stopping"):
            await waiting

    run(scenario)


def test_a_turn_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.01)

    async def scenario(admission: Admission) -> None:
        await admission.take()
        await admission.take()

    run(scenario)


@pytest.mark.parametrize("when", ["while it waits", "as its turn comes"])
def test_who_goes_takes_no_turn_along(when: str) -> None:
    async def scenario(admission: Admission) -> None:
        first = await admission.take()
        waiting = asyncio.create_task(admission.take())
        await settled()
        if when == "as its turn comes":
            first.end()
            waiting.cancel()
        else:
            waiting.cancel()
            await settled()
            first.end()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(admission.take(), 0.5)

    run(scenario)
