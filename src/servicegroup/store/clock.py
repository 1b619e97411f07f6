"""One clock: the database's, in UTC, for every stamp and for the ``now`` it is compared with.

``utcnow()`` is an SQL expression for the moment of the statement, not of the transaction (SQL-3).
PostgreSQL would evaluate its clock once a row, so it is wrapped in a scalar subquery.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import DateTime
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class utcnow(FunctionElement[Any]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock, naive UTC; to the microsecond, on SQLite to the millisecond."""

    inherit_cache = True
    name = "utcnow"
    type = DateTime()


@compiles(utcnow, "postgresql")
def _postgresql(element: utcnow, compiler: Any, **kw: Any) -> str:
    return "(SELECT clock_timestamp() AT TIME ZONE 'UTC')"


@compiles(utcnow, "mysql")
@compiles(utcnow, "mariadb")
def _mariadb(element: utcnow, compiler: Any, **kw: Any) -> str:
    return "UTC_TIMESTAMP(6)"


@compiles(utcnow, "sqlite")
def _sqlite(element: utcnow, compiler: Any, **kw: Any) -> str:
    # Six digits, as SQLAlchemy writes its own stamps, so that stamps compare as text.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
