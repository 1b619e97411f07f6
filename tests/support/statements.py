"""The statements that a database is asked, also those that go past SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from servicegroup.store.patience import PatientConnection


@contextmanager
def statements(engine: Engine, *, with_begin: bool = False) -> Iterator[list[str]]:
    """Give those that are asked in the block, in order; what begins transactions on demand."""
    asked: list[str] = []

    def note(statement: str) -> None:
        if with_begin or not statement.startswith("BEGIN"):
            asked.append(statement)

    def executing(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        note(statement)

    directly = PatientConnection.execute

    def execute(session: PatientConnection, statement: Any, *args: Any, **options: Any) -> Any:
        note(statement)
        return directly(session, statement, *args, **options)

    event.listen(engine, "before_cursor_execute", executing)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(PatientConnection, "execute", execute)
            yield asked
    finally:
        event.remove(engine, "before_cursor_execute", executing)
