"""Whole lists wait their turn, so that many of them do not hold up reports (F-51)."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from servicegroup.api import listing
from servicegroup.api.access.strategies import EVERYBODY
from servicegroup.api.call import Answer, Call
from servicegroup.api.compute.routes import respond
from servicegroup.api.listing import Lists
from servicegroup.api.v1 import routes as v1
from servicegroup.errors import StoreUnavailable
from servicegroup.group import ServiceGroup

from .nova import made


def ours(group: ServiceGroup, query: str, headers: dict[str, str] | None = None) -> Answer:
    return v1.list_services(Call(group, EVERYBODY, "GET", "", query=query, headers=headers or {}))


def novas(group: ServiceGroup, path: str, version: str = "2.1") -> Answer:
    path, _, query = path.partition("?")
    sent = {"openstack-api-version": f"compute {version}"}
    return respond(Call(group, EVERYBODY, "GET", f"/v2.1/{path}", query=query, headers=sent))


@pytest.mark.parametrize(
    ("query", "waits"),
    [
        ("", True),
        ("binary=web", True),
        ("state=down", True),
        ("state=down&limit=1", True),
        ("state=up&limit=1", True),
        (f"limit={listing.FEW + 1}", True),
        (f"limit={listing.FEW}", False),
        ("limit=1&zone=internal", False),
        ("host=h1", False),
        ("host=h1&state=down&limit=1", False),
    ],
)
def test_what_takes_a_whole_list_waits(group: ServiceGroup, query: str, waits: bool) -> None:
    life = group.join("h1", "web")
    answer = ours(group, query)
    assert (answer.later is not None) == waits
    is_found = "state=up" in query or "state=down" not in query
    assert (life.uuid.encode() in made(answer).body) == is_found


@pytest.mark.parametrize(
    ("path", "waits"),
    [
        ("os-services", True),
        ("os-services?binary=nova-compute", True),
        ("os-services?host=h1", False),
        ("os-hosts", True),
        ("os-hosts?zone=nova", True),
        ("os-availability-zone/detail", True),
        ("os-availability-zone", False),
    ],
)
def test_novas_lists_wait_too(group: ServiceGroup, path: str, waits: bool) -> None:
    group.join("h1", "nova-compute")
    answer = novas(group, path)
    assert (answer.later is not None) == waits
    answer = made(answer)
    assert answer.status == 200
    assert ("OpenStack-API-Version", "compute 2.1") in answer.headers


def test_an_error_of_a_list_that_waited_is_novas(
    group: ServiceGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise StoreUnavailable("The database does not answer.")

    answer = novas(group, "os-services")
    monkeypatch.setattr(ServiceGroup, "batches", broken)
    answer = made(answer)
    assert answer.status == 503
    assert ("OpenStack-API-Version", "compute 2.1") in answer.headers


def test_so_many_lists_are_made_at_once_and_the_others_in_order() -> None:
    making, most, order = 0, 0, []
    lock = threading.Lock()

    def work(number: int) -> Answer:
        nonlocal making, most
        with lock:
            making += 1
            most = max(most, making)
            order.append(number)
        with lock:
            making -= 1
        return Answer(body=str(number).encode())

    async def ask() -> list[Answer]:
        lists = Lists()
        waiting = [lists.made(Answer(later=partial(work, n))) for n in range(50)]
        return await asyncio.gather(*waiting)

    answers = asyncio.run(ask())
    assert [answer.body for answer in answers] == [str(n).encode() for n in range(50)]
    assert most <= listing.AT_ONCE
    assert order == list(range(50))


def test_small_answers_pass_by_and_a_failure_gives_its_turn_back() -> None:
    release = threading.Event()

    def slow() -> Answer:
        assert release.wait(30)
        raise StoreUnavailable("The database does not answer.")

    async def ask() -> None:
        lists = Lists()
        waiting = [asyncio.create_task(lists.made(Answer(later=slow))) for _ in range(3)]
        await asyncio.sleep(0)
        assert (await lists.made(Answer(body=b"small"))).body == b"small"
        assert not any(task.done() for task in waiting)
        release.set()
        for task in waiting:
            with pytest.raises(StoreUnavailable):
                await task
        assert (await lists.made(Answer(later=Answer))).status == 200

    asyncio.run(ask())
