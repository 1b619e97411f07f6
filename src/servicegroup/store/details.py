"""What services say of themselves and of their backend, kept for many by a few statements."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, text

from servicegroup.messages import Report

_AT_ONCE = 500
"""Texts of one statement, which looks through half of them for each of its records."""


class Kept(NamedTuple):
    """What the record of a service has of its texts, and its id."""

    id: int
    detail: str | None
    backend_error: str | None


def backend_errors(reports: Iterable[Report]) -> dict[tuple[str, int], str]:
    """Return what working services hear from a backend that takes no heartbeats of them, by life.

    The last word of a life counts. Any database has its letters, so it costs nobody a report (F-2).
    """
    heard = {(r.uuid, r.incarnation): r.backend_error for r in reports if not r.failing}
    return {
        life: words.encode("ascii", "backslashreplace").decode()[:255]
        for life, words in heard.items()
        if words
    }


def keep_texts(connection: Connection, column: str, texts: Mapping[int, str]) -> None:
    """Write a column of the table of services, by the id; nothing else of the record changes.

    The records are locked by then, so the order of the statements is nobody's to wait for.
    """
    items = iter(sorted(texts.items()))
    while some := dict(itertools.islice(items, _AT_ONCE)):
        # Written as text: SQLAlchemy takes longer to compile so large a CASE than databases to
        # run it. The ids are the database's own integers.
        cases = " ".join(f"WHEN {id_} THEN :d{id_}" for id_ in some)
        ids = ", ".join(map(str, some))
        statement = text(f"UPDATE services SET {column} = CASE id {cases} END WHERE id IN ({ids})")  # noqa: S608
        # Its size is another one each time, so remembering how it is written is of no use.
        connection.execute(
            statement,
            {f"d{id_}": said for id_, said in some.items()},
            execution_options={"compiled_cache": None},
        )
