"""Which versions of a binary run: the range of each, and how many services run which (spec S8).

Deleted and forced-down services are left out, disabled ones count, as in Nova (LC-10).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Select, false, func, select

from servicegroup.model import VersionRange
from servicegroup.store.database import reading
from servicegroup.store.tables import services


def binaries(engine: Engine) -> list[str]:
    """Return the binaries that exist, sorted. Raises StoreUnavailable, as all here."""
    query = select(services.c.binary).where(services.c.deleted == 0).distinct()
    with reading(engine) as connection:
        return sorted(connection.scalars(query))


def ranges(engine: Engine, wanted: Sequence[str]) -> list[VersionRange]:
    """Return the version range of each binary that runs anywhere, of all where none is named.

    Each end is one step on the index, however many services there are.
    """
    wanted = wanted or binaries(engine)  # before the connection: it takes one of its own
    found = []
    with reading(engine) as connection:
        for binary in wanted:
            counted = _counted().where(services.c.binary == binary)
            ends = [
                counted.order_by(order).limit(1).scalar_subquery()
                for order in (services.c.version.asc(), services.c.version.desc())
            ]
            lowest, highest = connection.execute(select(*ends)).one()
            if lowest is not None:
                found.append(VersionRange(binary, lowest, highest))
    return found


def counts(engine: Engine, wanted: Sequence[str]) -> dict[str, dict[int, int]]:
    """Return how many services of each binary run each version."""
    query = (
        _counted()
        .with_only_columns(services.c.binary, services.c.version, func.count())
        .where(services.c.binary.in_(wanted))
        .group_by(services.c.binary, services.c.version)
        .order_by(services.c.version)
    )
    found: dict[str, dict[int, int]] = {}
    with reading(engine) as connection:
        for binary, version, count in connection.execute(query):
            found.setdefault(binary, {})[version] = count
    return found


def _counted() -> Select[Any]:
    return select(services.c.version).where(
        # "= false", not "IS false": MariaDB walks the index for the first only.
        services.c.deleted == 0,
        services.c.forced_down == false(),
    )
