"""Whole lists wait their turn, so that many of them do not hold up reports (F-51)."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from servers.process import PATIENCE
from servicegroup.api import listing
from servicegroup.api.access.strategies import EVERYBODY
from servicegroup.api.call import Answer, Call
from servicegroup.api.compute.routes import is_for_later, respond
from servicegroup.api.listing import Lists
from servicegroup.api.v1 import routes as v1
from servicegroup.batches import Batches
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
    monkeypatch.setattr(Batches, "states", broken)
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
    assert most == 1
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


class Register:
    """What is read: one value that changes; each read takes until it is released."""

    def __init__(self) -> None:
        self.value = 0
        self.reads = 0
        self.begun = threading.Semaphore(0)
        self.release = threading.Semaphore(0)

    def read(self) -> Answer:
        self.reads += 1
        found = self.value
        self.begun.release()
        assert self.release.acquire(timeout=PATIENCE)
        return Answer(body=str(found).encode())

    def asked(self, lists: Lists, question: str | None = "all") -> asyncio.Task[Answer]:
        return asyncio.create_task(lists.made(Answer(later=self.read, question=question)))

    async def is_being_read(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE)


def test_who_asks_while_a_list_is_read_shares_the_next_one() -> None:
    async def ask() -> None:
        lists, register = Lists(), Register()
        first = register.asked(lists)
        await register.is_being_read()
        register.value = 1
        others = [register.asked(lists) for _ in range(50)]
        await asyncio.sleep(0)
        register.release.release()
        assert (await first).body == b"0"
        await register.is_being_read()
        register.value = 2
        late = register.asked(lists)
        register.release.release(2)
        assert {answer.body for answer in await asyncio.gather(*others)} == {b"1"}
        assert (await late).body == b"2", "no answer is older than its question"
        assert register.reads == 3

    asyncio.run(ask())


@pytest.mark.parametrize(("seconds", "reads"), [(PATIENCE, 1), (0.0, 2)], ids=["crowd", "endless"])
def test_a_crowd_shares_the_first_answer(
    monkeypatch: pytest.MonkeyPatch, seconds: float, reads: int
) -> None:
    """Each one comes a pass of the loop after the one before; a crowd without end is cut short."""
    monkeypatch.setattr(listing, "GATHERING", seconds)

    async def ask() -> None:
        lists, register = Lists(), Register()
        asked = []
        for _ in range(50):
            asked.append(register.asked(lists))
            await asyncio.sleep(0)
        register.release.release(2)
        await asyncio.gather(*asked)
        assert register.reads == reads

    asyncio.run(ask())


@pytest.mark.parametrize(
    "path", ["os-services", "0af1/os-services", "/os-services", "os%2Dservices"]
)
@pytest.mark.parametrize("version", ["2.1", "2.53", "2.75", "latest", "9.9", "none"])
def test_a_list_of_everybody_asks_nobody_before_its_turn(path: str, version: str) -> None:
    """So it may be decided on the event loop: whatever is refused is refused without a question."""
    nobody: Any = None
    sent = {"openstack-api-version": f"compute {version}"}
    for root in ("v2.1", "v2", "v3"):
        call = Call(nobody, EVERYBODY, "GET", f"/{root}/{path}", headers=sent)
        assert is_for_later(call)
        answer = respond(call)
        assert (answer.later is None) == (answer.status != 200)


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/v2.1/os-services", "host=h1"),
        ("GET", "/v2.1/os-services", "%68ost=h1"),
        ("GET", "/v2.1/os-availability-zone", ""),
        ("GET", "/v2.1/os-hosts/os-services", ""),
        ("GET", "/v2.1/0af1/os-hosts/os-services", ""),
        ("GET", "/v2/os-hosts/os%2Dservices", ""),
        ("PUT", "/v2.1/os-services", ""),
    ],
)
def test_what_may_ask_at_once_is_not_for_later(method: str, path: str, query: str) -> None:
    nobody: Any = None
    assert not is_for_later(Call(nobody, EVERYBODY, method, path, query=query))


@pytest.mark.parametrize(("question", "reads"), [("all", 1), (None, 3)])
def test_only_an_equal_question_is_shared(question: str | None, reads: int) -> None:
    async def ask() -> None:
        lists, register = Lists(), Register()
        register.release.release(10)
        asked = [register.asked(lists, question) for _ in range(3)]
        await asyncio.gather(*asked, register.asked(lists, "another"))
        assert register.reads == reads + 1

    asyncio.run(ask())


def test_who_hangs_up_takes_nobodys_answer_away() -> None:
    async def ask() -> None:
        lists, register = Lists(), Register()
        first = register.asked(lists)
        await register.is_being_read()
        gone, stays = register.asked(lists), register.asked(lists)
        alone = register.asked(lists, "another")
        await asyncio.sleep(0)
        gone.cancel()
        alone.cancel()
        register.release.release(2)
        assert [(await one).body for one in (first, stays)] == [b"0", b"0"]
        assert register.reads == 2, "nobody waits for the other question any more"
        register.release.release()
        assert (await register.asked(lists, "another")).body == b"0"

    asyncio.run(ask())


def test_a_failure_is_told_to_all_who_share_it() -> None:
    def fails() -> Answer:
        raise StoreUnavailable("The database does not answer.")

    async def ask() -> None:
        lists = Lists()
        asked = [lists.made(Answer(later=fails, question="all")) for _ in range(3)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in found] == [StoreUnavailable] * 3

    asyncio.run(ask())


def test_what_differs_in_an_answer_differs_in_the_question(group: ServiceGroup) -> None:
    """One whole list of everybody is many answers, by filter, view and version."""
    group.join("h1", "nova-compute")
    ours_ = [ours(group, query) for query in ("", "binary=web", "state=up", "state=down&limit=1")]
    novas_ = [novas(group, "os-services", version) for version in ("2.1", "2.11", "2.53", "2.69")]
    more = ("os-services?binary=nova-compute", "os-hosts", "os-hosts?zone=nova",
            "os-availability-zone/detail")  # fmt: skip
    answers = [*ours_, *novas_, *(novas(group, path) for path in more)]
    questions = [answer.question for answer in answers]
    assert None not in questions
    assert len({*questions}) == len(questions)
    assert ours(group, "").question == questions[0]


def test_a_change_is_shared_by_nobody(group: ServiceGroup) -> None:
    body = b'{"reasons": ["left"]}'
    answer = v1.prune_services(Call(group, EVERYBODY, "POST", "", body=body))
    assert answer.later is not None
    assert answer.question is None
