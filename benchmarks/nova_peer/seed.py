"""Services in Nova's tables by the thousand, as if their computes had just reported.

Rows are written with SQL because ten thousand nova-computes do not fit on one machine; the
API and the conductor cannot tell the difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from servers.nova import Databases

SERVICE_VERSION = 74
"""Nova 34's own; its API refuses to start beside services that are too old."""

SERVICES = text("""
    INSERT INTO services (host, "binary", topic, report_count, disabled, forced_down, deleted,
                          version, uuid, created_at, updated_at, last_seen_up)
    SELECT 'host-' || n, 'nova-compute', 'compute', 0, false, false, 0,
           :version, gen_random_uuid(), now, now, now
    FROM generate_series(1, :services) n, timezone('utc', now()) now
""")

MAPPINGS = text("""
    INSERT INTO host_mappings (cell_id, host, created_at)
    SELECT id, 'host-' || n, timezone('utc', now())
    FROM cell_mappings, generate_series(1, :services) n WHERE name = 'cell1'
""")

REFRESH = text("""
    UPDATE services SET last_seen_up = timezone('utc', now()), updated_at = timezone('utc', now())
    WHERE "binary" = 'nova-compute'
""")


def host(number: int) -> str:
    """Name the host of the n-th service, counted from 1."""
    return f"host-{number}"


def seed(databases: Databases, services: int) -> None:
    """Replace all compute services by this many, all up."""
    with _connect(databases.main) as main:
        main.execute(text("""DELETE FROM services WHERE "binary" = 'nova-compute'"""))
        main.execute(SERVICES, {"services": services, "version": SERVICE_VERSION})
        main.execute(text("VACUUM ANALYZE services"))
    with _connect(databases.api) as api:
        api.execute(text("DELETE FROM host_mappings"))
        api.execute(MAPPINGS, {"services": services})
        api.execute(text("VACUUM ANALYZE host_mappings"))


def refresh(databases: Databases) -> None:
    """Stamp all compute services as having just reported."""
    with _connect(databases.main) as main:
        main.execute(REFRESH)
        main.execute(text("VACUUM ANALYZE services"))


def beats(databases: Databases) -> int:
    """Count the heartbeats that Nova has committed since the seed, the conductor's own left out."""
    question = text("""SELECT sum(report_count) FROM services WHERE "binary" = 'nova-compute'""")
    with _connect(databases.main) as main:
        return int(main.execute(question).scalar_one())


def _connect(url: str) -> Connection:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    return engine.connect()
