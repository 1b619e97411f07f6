"""What failing services say of themselves, kept for many records by a few statements."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from sqlalchemy import Connection, case, update

from servicegroup.store.tables import services

_AT_ONCE = 500
"""Details of one statement, which looks through half of them for each of its records."""


def keep_details(connection: Connection, details: Mapping[int, str]) -> None:
    """Write each record's detail, by its id; nothing else of the record changes.

    The records are locked by then, so the order of the statements is nobody's to wait for.
    """
    items = iter(sorted(details.items()))
    while some := dict(itertools.islice(items, _AT_ONCE)):
        detail = case(some, value=services.c.id)
        statement = update(services).where(services.c.id.in_(some)).values(detail=detail)
        # Its size is another one each time, so remembering how it is written is of no use.
        connection.execute(statement, execution_options={"compiled_cache": None})
