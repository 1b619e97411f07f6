"""Rows of sessions, locked until the transaction ends and always in the order of ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from servicegroup.store.reports import NAMED_AT_MOST
from servicegroup.store.tables import sessions


def locked(
    connection: Connection, ids: Iterable[int], *columns: ColumnElement[Any]
) -> dict[int, Any]:
    """Return these columns of services' sessions by the services' ids; many ids, few statements.

    On MariaDB nothing but a locked row shows what others committed meanwhile.
    """
    c, named = sessions.c, sorted(ids)
    query = select(c.service_id, *columns).order_by(c.service_id).with_for_update()
    found: dict[int, Any] = {}
    for start in range(0, len(named), NAMED_AT_MOST):
        some = named[start : start + NAMED_AT_MOST]
        for row in connection.execute(query.where(c.service_id.in_(some))):
            found[row.service_id] = row
    return found
