"""Lists of services as JSON, made batch by batch: memory holds some of them at a time.

Judging a list is work for a processor. Threads that do it at once are little faster than one, and
keep reports and small questions from the interpreter, so what takes a whole list waits its turn.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import msgspec
from anyio import to_thread

from servicegroup.api.call import Answer
from servicegroup.api.large import Large, gathered
from servicegroup.model import ServiceFilter

GATHERING = 0.02
"""Seconds at the most that a list waits for those who ask for it at this moment."""

_PASSES = 3
"""Passes of the event loop without a further one after which nobody else asks at this moment."""

FEW = 100
"""Services of a page that is too small to wait its turn."""


class Lists:
    """The turns of whole lists in one process, for one event loop: first come, first served.

    Whoever asks what somebody waits for already shares that answer. It is not begun yet, so
    nobody gets one that is older than the question, and many readers cost as much as two.
    """

    def __init__(self) -> None:
        """Nobody waits."""
        self._turn = asyncio.Lock()
        self._waiting: dict[Hashable, _Shared] = {}

    async def made(self, answer: Answer) -> Answer:
        """Return the answer, made in its turn if it was left for later. Raises what that does.

        When the last one who waits for it is cancelled the turn is free again; a list that is being
        made keeps its own until it is done.
        """
        if answer.later is None:
            return answer
        # Who must not share an answer asks a question that nobody else can ask.
        question = object() if answer.question is None else answer.question
        shared = self._waiting.get(question)
        if shared is None:
            task = asyncio.create_task(self._make(question, answer.later))
            shared = self._waiting[question] = _Shared(task)
        shared.readers += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.readers -= 1
            if not shared.readers and self._waiting.get(question) is shared:
                del self._waiting[question]
                shared.task.cancel()

    async def _make(self, question: Hashable, later: Callable[[], Answer]) -> Answer:
        async with self._turn:  # one at a time (decision 0025)
            await _gathered(self._waiting[question])
            del self._waiting[question]  # whoever asks from now on gets what is read after that
            return await to_thread.run_sync(later)


class _Shared:
    """An answer that is not begun yet, and how many wait for it."""

    def __init__(self, task: asyncio.Task[Answer]) -> None:
        self.task = task
        self.readers = 0


async def _gathered(shared: _Shared) -> None:
    """Wait until nobody else asks at this moment: who comes in a crowd shares the first answer.

    It takes a few passes of the event loop, some 50 µs, where nobody comes.
    """
    until = time.monotonic() + GATHERING
    passes, before = 0, shared.readers
    while passes < _PASSES and time.monotonic() < until:
        await asyncio.sleep(0)
        passes, before = (passes + 1, before) if shared.readers == before else (0, shared.readers)


def is_small(filters: ServiceFilter, state: str | None = None) -> bool:
    """Tell whether a few services are all that have to be read and judged for an answer."""
    few = filters.limit is not None and filters.limit <= FEW
    return filters.host is not None or (few and state is None)


def listed(batches: Iterable[bytes | memoryview], end: bytes = b"]}") -> Answer:
    """Return an answer whose ``services`` are those of all batches; ``end`` closes the list.

    A batch is the JSON of some services with commas between them.
    """
    body = gathered(itertools.chain([b'{"services":['], _separated(batches), [end]))
    if isinstance(body, Large):
        return Answer(large=body)
    return Answer(body=body)


def encoded(batches: Iterable[Sequence[msgspec.Struct]]) -> Iterator[memoryview]:
    """Yield the JSON of each batch, as ``listed`` takes it."""
    for batch in batches:
        yield memoryview(msgspec.json.encode(batch))[1:-1]  # which copies nothing


def _separated(batches: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    comma = b""
    for batch in batches:
        if batch:
            yield comma
            yield batch
            comma = b","
