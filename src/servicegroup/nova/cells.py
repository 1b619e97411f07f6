"""Nova's cells, each asked for its services within a time of its own (F-43).

Nova's own way of asking all cells waits a minute for one that hangs, in threads that keep a command
from ending, and writes tracebacks. A cell that is away costs seconds here, once, and is named.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from servicegroup.errors import StoreUnavailable

T = TypeVar("T")

PATIENCE = 3.0
"""Seconds in which a cell, all of them at once, has to answer the smallest question there is."""

LONGEST = 60.0
"""Seconds in which a cell that answered lists its services; Nova's own limit."""

_API = "the API database"


class Away(msgspec.Struct, frozen=True):
    """A cell without an answer: its name, why, and the hosts of its computes, by their mappings."""

    name: str
    why: str
    hosts: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True):
    """What there is instead of an answer: why, in a few words."""

    why: str


class Question(Generic[T]):
    """``greet`` and then ``ask``, in a thread that keeps no process from ending."""

    def __init__(self, greet: Callable[[], object], ask: Callable[[], T]) -> None:
        """Begin at once; what either raises is the answer, as ``Failed``."""
        self._greet, self._ask = greet, ask
        self._answer: T | Failed = Failed("it did not answer in time")
        self._greeted, self._done = threading.Event(), threading.Event()
        threading.Thread(target=self._run, name="servicegroup-cell", daemon=True).start()

    def answer(self, greeted_by: float, done_by: float) -> T | Failed:
        """Return the answer; wait for the first sign and for all of it up to these moments.

        They are on the monotonic clock, in seconds.
        """
        if self._greeted.wait(max(0.0, greeted_by - time.monotonic())):
            self._done.wait(max(0.0, done_by - time.monotonic()))
        return self._answer

    def _run(self) -> None:
        try:
            self._greet()
            self._greeted.set()
            self._answer = self._ask()
        except BaseException as error:  # noqa: BLE001 - the thread that waits hears of everything
            self._answer = Failed(_words(error))
        finally:
            self._done.set()
            self._greeted.set()


def _words(error: BaseException) -> str:
    """Return the first line of what went wrong, without an address that may hold a password."""
    said = str(error).partition("\n")[0]
    return type(error).__name__ if "://" in said or not said else said


def answers(
    questions: Mapping[str, Question[T]], patience: float = PATIENCE, longest: float = LONGEST
) -> dict[str, T | Failed]:
    """Return each question's answer; those without a sign cost ``patience`` seconds together."""
    begun = time.monotonic()
    return {
        name: question.answer(begun + patience, begun + longest)
        for name, question in questions.items()
    }


def records() -> tuple[list[Any], list[Away]]:
    """Return the services of all cells, as Nova's objects, and which cells did not answer.

    Raises StoreUnavailable where none does, or the API database does not.
    """
    _keep_quiet()
    import nova.context as context

    _from_api(context.load_cells)
    cells = {cell.uuid: cell for cell in context.CELLS}
    asked = {uuid: Question(partial(_greet, cell), partial(_list, cell))
             for uuid, cell in cells.items()}  # fmt: skip
    found: list[Any] = []
    away = []
    for uuid, answer in answers(asked).items():
        if isinstance(answer, Failed):
            away.append(Away(cells[uuid].identity, answer.why, _hosts(cells[uuid])))
        else:
            found += answer
    if len(away) == len(cells):
        names = ", ".join(cell.name for cell in away)
        raise StoreUnavailable(f"No cell's database answers, of {names}.")
    return found, away


def _from_api(ask: Callable[[], T]) -> T:
    """Return what Nova's API database says, in time. Raises StoreUnavailable."""
    (answer,) = answers({_API: Question(lambda: None, ask)}, longest=PATIENCE).values()
    if isinstance(answer, Failed):
        raise StoreUnavailable(f"Nova's API database does not answer: {answer.why.rstrip('.')}.")
    return answer


def _greet(cell: Any) -> None:
    import nova.context as context
    from nova.db.main import api

    with (
        context.target_cell(context.get_admin_context(), cell) as targeted,
        api.get_context_manager(targeted).reader.using(targeted) as session,
    ):
        # A pooler shakes hands for a server that hangs.
        session.connection().exec_driver_sql("SELECT 1")


def _list(cell: Any) -> list[Any]:
    import nova.context as context
    from nova.objects.service import ServiceList

    with context.target_cell(context.get_admin_context(), cell) as targeted:
        return list(ServiceList.get_all(targeted, None, set_zones=True))


def _hosts(cell: Any) -> tuple[str, ...]:
    import nova.context as context
    from nova.objects.host_mapping import HostMappingList

    mappings = _from_api(
        partial(HostMappingList.get_by_cell_id, context.get_admin_context(), cell.id)
    )
    return tuple(sorted(mapping.host for mapping in mappings))


def _keep_quiet() -> None:
    """Have failures told once, by us: not tried again for minutes, nor logged with tracebacks."""
    from oslo_config import cfg

    for group in ("database", "api_database"):
        cfg.CONF.set_override("max_retries", 0, group)
    for name in ("nova", "oslo_db"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
