"""Galera: a session sees whatever any node committed before its question (F-24).

Nodes copy each commit at once and apply it a moment later, so that another node, asked right after
it, may not have it yet. Then whoever changes control planes meets a past: events that were "never
given", services deleted that are listed, restarts undone.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import Engine, event

# Before it reads (1), updates or deletes (2), and inserts (4): also a report must find its record.
_SESSION = "SET SESSION wsrep_sync_wait = 7"


def prepare(engine: Engine) -> None:
    """Let every session of an engine for MariaDB wait until its node has what others committed.

    A server of its own has nothing to wait for, and one that was built without Galera refuses.
    """
    errors = engine.dialect.loaded_dbapi.Error

    def connected(connection: Any, _record: object) -> None:
        with suppress(errors), connection.cursor() as cursor:
            cursor.execute(_SESSION)

    event.listen(engine, "connect", connected)
