"""What the observer's loop keeps of pushes until the next look, and what its log says."""

from __future__ import annotations

import asyncio
import contextlib
import math

import pytest

from servicegroup.controlplane import observer_loop
from servicegroup.controlplane.observer import Observer
from servicegroup.controlplane.observer_loop import MEMBERS, ObserverLoop
from servicegroup.errors import StoreUnavailable
from servicegroup.group import ServiceGroup
from servicegroup.model import Member


def test_more_pushed_members_than_a_statement_names_lead_to_a_whole_look(
    group: ServiceGroup,
) -> None:
    loop = ObserverLoop(group, Observer(group), lambda: None)
    members = [Member("compute", f"h{n}") for n in range(MEMBERS + 1)]
    loop._note(members[:MEMBERS])
    assert loop._changed == set(members[:MEMBERS])
    loop._note(members[MEMBERS:])
    assert loop._changed is None


class Failing(Observer):
    """Cannot renew its lease."""

    observes = True
    tried = 0

    def keep_lease(self) -> bool:
        self.tried += 1
        raise StoreUnavailable("The database does not answer.")


def test_a_lease_that_a_look_keeps_is_said_to_work_again(
    group: ServiceGroup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """LC-9: or nobody hears of it when it fails the next time."""
    monkeypatch.setattr(observer_loop, "LEASE_INTERVAL", 0.001)
    observer = Failing(group)
    loop = ObserverLoop(group, observer, lambda: None)

    async def keep() -> None:
        keeping = asyncio.create_task(loop._keep_lease())
        while not caplog.records:
            await asyncio.sleep(0)
        observer.kept_until = math.inf  # by a look
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while len(caplog.records) < 2:
                    await asyncio.sleep(0)
        keeping.cancel()

    asyncio.run(keep())
    assert [record.getMessage() for record in caplog.records] == [
        "The observer's lease fails: The database does not answer.",
        "The observer's lease works again.",
    ]
    assert observer.tried == 1
