"""A register full of services that all just reported, and a control plane in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import func, select, text
from sqlalchemy.engine import Engine

from servicegroup.store import database, migrate
from servicegroup.store.clock import utcnow
from servicegroup.store.tables import services
from support.control_plane import ControlPlane

BINARY = "nova-compute"

_ANALYSE = {
    "postgresql": "VACUUM ANALYZE services",
    "mysql": "ANALYZE TABLE services",
    "sqlite": "ANALYZE services",
}
"""What a database does by itself soon after its table has grown."""


def host(number: int) -> str:
    """Name the host of the n-th service, counted from 1."""
    return f"host-{number}"


def seed(url: str, count: int, binaries: tuple[str, ...] = (BINARY,)) -> None:
    """Create the schema and ``count`` services, one a host, the binaries taking turns."""
    engine = database.connect(url)
    migrate.upgrade(engine)
    insert = services.insert().values(
        **dict.fromkeys(("created_at", "registered_at", "last_seen_up", "updated_at"), utcnow()),
        observed_state="up",  # or the first look would record a change of everybody's
        observed_since=utcnow(),
    )
    rows = [_row(n, binaries[n % len(binaries)]) for n in range(1, count + 1)]
    database.write(engine, lambda connection: connection.execute(insert, rows))
    analyse(engine)
    engine.dispose()


def analyse(engine: Engine) -> None:
    """Have the database know how large its table has become."""
    with database.reading(engine) as connection:
        connection.execute(text(_ANALYSE[engine.dialect.name]))
        connection.commit()


def report_all(url: str) -> None:
    """Stamp every service, as its report does, a moment apart from one another."""
    engine = database.connect(url)
    apart = func.make_interval(0, 0, 0, 0, 0, 0, services.c.id * 0.000_01)
    stamp = utcnow() - apart
    stamped = services.update().values(last_seen_up=stamp, updated_at=stamp)
    database.write(engine, lambda connection: connection.execute(stamped))
    engine.dispose()


def _row(number: int, binary: str) -> dict[str, object]:
    return {
        "uuid": str(uuid4()),
        "host": host(number),
        "binary": binary,
        "topic": binary.removeprefix("nova-"),
        "zone": "nova",
        "version": 60 + number % 15,
    }


def uuids(engine: Engine) -> list[str]:
    """Return the seeded services in the order they were made; each is in its first incarnation."""
    query = select(services.c.uuid).where(services.c.binary == BINARY).order_by(services.c.id)
    with database.reading(engine) as connection:
        return list(connection.scalars(query))


def reports(engine: Engine) -> int:
    """Count the reports of the seeded services that were committed; the control plane's own not."""
    query = select(services.c.report_count).where(services.c.binary == BINARY)
    with database.reading(engine) as connection:
        return sum(connection.scalars(query))


@contextmanager
def control_plane(url: str, directory: Path, driver: str = "db") -> Iterator[ControlPlane]:
    """Run ``servicegroup serve`` with a driver without a backend on a seeded database."""
    # Nobody reports while lists are timed, and everybody has to stay up.
    plane = ControlPlane(url, directory, service_down_time=3600, servicegroup_driver=driver)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
