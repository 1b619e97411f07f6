"""Galera: a session sees whatever any node committed before its question (F-24).

Nodes copy each commit at once and apply it a moment later, so that another node, asked right after
it, may not have it yet. Then whoever changes control planes meets a past: events that were "never
given", services deleted that are listed, restarts undone.

A node that hears of the loss of another one cannot tell for a moment what was committed, and ends
whatever waits for it with 1205, as a lock that was waited for too long. A question that only reads
is asked again then, for as long as a transaction that writes is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import Engine, event

from servicegroup.store.attempts import Attempts
from servicegroup.store.refusals import code_of

# Before it reads (1), updates or deletes (2), and inserts (4): also a report must find its record.
_SESSION = "SET SESSION wsrep_sync_wait = 7"

_WAITED = 1205


def prepare(engine: Engine) -> None:
    """Let every session of an engine for MariaDB wait until its node has what others committed.

    A server of its own has nothing to wait for, and one that was built without Galera refuses.
    """
    errors = engine.dialect.loaded_dbapi.Error

    def connected(connection: Any, _record: object) -> None:
        with suppress(errors), connection.cursor() as cursor:
            cursor.execute(_SESSION)

    event.listen(engine, "connect", connected)
    _ask_again(engine)


def _ask_again(engine: Engine) -> None:
    """Repeat a statement of ``reading`` or ``snapshot_read`` that waited in vain for its node.

    It was not run, and what its transaction has seen stays as it is. One that writes begins again
    as a whole, see ``write``.
    """
    dialect: Any = engine.dialect
    plain, errors = dialect.do_execute, dialect.loaded_dbapi.Error

    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        attempts = Attempts()
        while True:
            try:
                plain(cursor, statement, parameters, context)
            except errors as error:
                reads = context is not None and context.execution_options.get("reads")
                if not reads or code_of(error) != _WAITED or not attempts.pause():
                    raise
            else:
                return

    dialect.do_execute = do_execute
