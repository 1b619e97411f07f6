"""What failing services say of themselves, kept for many records by a few statements."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from sqlalchemy import Connection, text

_AT_ONCE = 500
"""Details of one statement, which looks through half of them for each of its records."""


def keep_details(connection: Connection, details: Mapping[int, str]) -> None:
    """Write each record's detail, by its id; nothing else of the record changes.

    The records are locked by then, so the order of the statements is nobody's to wait for.
    """
    items = iter(sorted(details.items()))
    while some := dict(itertools.islice(items, _AT_ONCE)):
        # Written as text: SQLAlchemy takes longer to compile so large a CASE than databases to
        # run it. The ids are the database's own integers.
        cases = " ".join(f"WHEN {id_} THEN :d{id_}" for id_ in some)
        ids = ", ".join(map(str, some))
        statement = text(f"UPDATE services SET detail = CASE id {cases} END WHERE id IN ({ids})")  # noqa: S608
        # Its size is another one each time, so remembering how it is written is of no use.
        connection.execute(
            statement,
            {f"d{id_}": detail for id_, detail in some.items()},
            execution_options={"compiled_cache": None},
        )
