"""Questions to guides, each in a thread of its own: one that hangs is waited for once (F-18)."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from threading import Lock, Thread
from typing import Generic, TypeVar

from servicegroup.breaker import SLOW
from servicegroup.per_process import PerProcess

_HEDGE = 0.1
"""Seconds for which one that was asked may be silent until the next one is asked too."""

G = TypeVar("G", bound=Hashable)
T = TypeVar("T")


class _State(Generic[G, T]):
    """Who was asked and has not answered, since when, and who kept others waiting in vain."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.pending: dict[G, tuple[Future[T], float]] = {}
        self.late: set[G] = set()


class Inquiries(Generic[G, T]):
    """Asks guides by ``ask``; safe to share between threads, and found anew after a fork."""

    def __init__(self, ask: Callable[[G], T]) -> None:
        """Ask nobody yet."""
        self._ask = ask
        self._states: PerProcess[_State[G, T]] = PerProcess(_State)

    def put_to(self, guide: G) -> Future[T]:
        """Ask one; while a question to it is without an answer, that one's answer is everybody's.

        It is given, or what ``ask`` raises, within the time limits of the guide's connection.
        """
        state = self._states.get()
        with state.lock:
            if guide in state.pending:
                return state.pending[guide][0]
            answer: Future[T] = Future()
            state.pending[guide] = (answer, time.monotonic())
        run = Thread(
            target=self._run, args=(state, guide, answer), name="servicegroup-guide", daemon=True
        )
        try:
            run.start()
        except RuntimeError as error:  # no more threads: this question fails, and no later one
            with state.lock:
                del state.pending[guide]
            answer.set_exception(OSError(str(error)))
        return answer

    def in_turn(self, guides: Sequence[G], seconds: float) -> Iterator[tuple[G, Future[T]]]:
        """Give answers as they come, for so long; the next one is asked as long as more are wanted.

        It is asked after each answer, and when those that were asked have said nothing for a while.
        Those who are late are asked last, and waited for only where nobody else gives an answer.
        """
        deadline = time.monotonic() + seconds
        waiting, asked = sorted(guides, key=self.is_late), dict[Future[T], G]()
        has_answer = False
        while (waiting or asked) and (left := deadline - time.monotonic()) > 0:
            if waiting:
                guide = waiting.pop(0)
                asked[self.put_to(guide)] = guide
            only_late = has_answer and all(map(self.is_late, asked.values()))
            done, _ = wait(asked, 0.0 if only_late else min(left, _HEDGE), FIRST_COMPLETED)
            if only_late and not (done or waiting):
                return
            for answer in done:
                has_answer = has_answer or answer.exception() is None
                yield asked.pop(answer), answer

    def of_all(self, guides: Sequence[G], seconds: float) -> list[Future[T]]:
        """Ask all at once, and return the answers; who is late is waited for if all are."""
        state = self._states.get()
        with state.lock:
            state.late.intersection_update(guides)  # those that there are no more
        asked = {guide: self.put_to(guide) for guide in guides}
        prompt = [answer for guide, answer in asked.items() if not self.is_late(guide)]
        wait(prompt or asked.values(), seconds)
        return [answer for answer in asked.values() if answer.done()]

    def is_late(self, guide: G) -> bool:
        """Tell whether it keeps others waiting now, or did so in vain when it was asked last.

        Who is slow and answers is waited for: it may be the first to name another primary (F-21).
        """
        state = self._states.get()
        with state.lock:
            _, since = state.pending.get(guide, (None, time.monotonic()))
            return guide in state.late or time.monotonic() - since >= SLOW

    def _run(self, state: _State[G, T], guide: G, answer: Future[T]) -> None:
        begun = time.monotonic()
        try:
            said = self._ask(guide)
        except BaseException as error:  # noqa: BLE001 - whoever waits hears of everything
            self._ended(state, guide, is_late=time.monotonic() - begun >= SLOW)
            answer.set_exception(error)
        else:
            self._ended(state, guide, is_late=False)
            answer.set_result(said)

    @staticmethod
    def _ended(state: _State[G, T], guide: G, *, is_late: bool) -> None:
        with state.lock:
            del state.pending[guide]
            (state.late.add if is_late else state.late.discard)(guide)
