"""What keeps the register going has threads of its own: all others may be busy (F-18)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from anyio import to_thread
from starlette.requests import Request

from servicegroup.api.access.host_binding import Hosts
from servicegroup.api.access.tokens import Tokens
from servicegroup.controlplane.intake import Intake
from servicegroup.controlplane.plane import Plane
from servicegroup.driver import load
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Limits
from servicegroup.store import migrate, tokens
from servicegroup.store.database import connect
from servicegroup.store.store import Store

SOON = 20.0


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ServiceGroup]:
    """Give a register on SQLite, driver ``db``."""
    engine = connect(f"sqlite:///{tmp_path / 'register.sqlite'}")
    migrate.upgrade(engine)
    made = ServiceGroup(Store(engine), load("db"), Limits())
    yield made
    made.close()


@asynccontextmanager
async def busy_threads() -> AsyncIterator[None]:
    """Have all threads that requests are served by wait for something, for a limited time."""
    threads = to_thread.current_default_thread_limiter()
    holders = [object() for _ in range(int(threads.total_tokens))]
    for holder in holders:
        threads.acquire_on_behalf_of_nowait(holder)
    try:
        async with asyncio.timeout(SOON):
            yield
    except TimeoutError:
        raise AssertionError(f"it waited {SOON:g} s for a thread") from None
    for holder in holders:
        threads.release_on_behalf_of(holder)


async def soon(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    while not condition():
        await asyncio.sleep(0.01)


def test_a_control_plane_observes_and_takes_reports(group: ServiceGroup) -> None:
    life = group.join("node1", "worker")
    intake = Intake(
        lambda reports, marking, deadline: group.report(
            reports, marking=marking, deadline=deadline
        ),
        10.0,
    )
    plane = Plane(group, intake)

    async def main() -> None:
        async with busy_threads(), plane.running():
            await intake.report([Report(life.uuid, life.incarnation)])
            await soon(lambda: group.get(life.uuid).observed_state)
            assert b"servicegroup_store_up 1" in await plane.metrics.render()

    asyncio.run(main())


def test_reporters_are_let_in(group: ServiceGroup) -> None:
    life = group.join("node1", "worker")
    engine = group._store.engine
    known = Tokens((), engine)
    token = tokens.create(engine, "node1", "reporter", "node1", timedelta(hours=1))
    request = Request({"type": "http", "headers": [(b"x-auth-token", token.encode())]})

    async def main() -> None:
        async with busy_threads():
            assert (await known.caller(request)).host == "node1"
            await Hosts(group).check("node1", {life.uuid})

    asyncio.run(main())
