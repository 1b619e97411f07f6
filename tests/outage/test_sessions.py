"""Many sessions while their database, or the files of a process, are not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from servers.plugin import require
from servers.postgresql import PostgreSQL
from servicegroup.store.database import connect
from servicegroup.store.tables import services, sessions
from support.control_plane import ControlPlane
from support.session import Talker
from support.waiting import until

pytestmark = pytest.mark.long

PATIENT: dict[str, Any] = {"service_down_time": 600, "membership_ttl": 120}
CONNECTIONS, EACH = 50, 10


@contextmanager
def serving(url: str, directory: Path, kind: type[ControlPlane] = ControlPlane) -> Iterator[Any]:
    """Run a control plane on a register, with times in which nobody is silent."""
    plane = kind(url, directory, **PATIENT)
    plane.start()
    try:
        yield plane
    finally:
        plane.stop()


def register(plane: ControlPlane, host: str) -> str:
    uuid: str = plane.request("POST", "/v1/services", {"host": host, "binary": "w"})[2]["uuid"]
    return uuid


def hold(uuids: list[str], number: int = 1) -> dict[str, Any]:
    """Return the frame that holds these lives."""
    return {"hold": [{"uuid": uuid, "incarnation": 1, "number": number} for uuid in uuids]}


def states(url: str) -> dict[str, str]:
    """Return how the record has the session of each service: open, or the cause of its end."""
    engine = connect(url)
    query = select(services.c.uuid, sessions.c.ended_at, sessions.c.cause)
    try:
        with engine.connect() as connection:
            rows = connection.execute(query.join(sessions, services.c.id == sessions.c.service_id))
            return {uuid: cause if ended else "open" for uuid, ended, cause in rows}
    finally:
        engine.dispose()


def test_a_thousand_open_and_end_while_the_database_is_away(tmp_path: Path) -> None:
    require(PostgreSQL)
    with PostgreSQL() as server, ExitStack() as stack:
        url = server.database()
        plane = stack.enter_context(serving(url, tmp_path))
        uuids = [register(plane, f"h{n}") for n in range(2 * CONNECTIONS * EACH)]
        parts = [uuids[n : n + EACH] for n in range(0, len(uuids), EACH)]
        early, late = parts[:CONNECTIONS], parts[CONNECTIONS:]
        before = [stack.enter_context(Talker(plane.url)) for _ in early]
        for talker, part in zip(before, early, strict=True):
            assert "held" in talker.say(hold(part))
            talker.line.ping()  # as an agent does: the answer came
        server.freeze()
        for talker in before:
            talker.break_off()
        after = [stack.enter_context(Talker(plane.url)) for _ in late]
        for talker, part in zip(after, late, strict=True):
            talker.send(hold(part))
        for talker in after[::2]:
            talker.break_off()
        assert after[1].told("drain") == "database"
        server.thaw()
        for talker, part in list(zip(after, late, strict=True))[1::2]:
            number = 1
            while "held" not in talker.hear():  # it waited for too long
                number += 1
                talker.send(hold(part, number))
        kept = {uuid for part in late[1::2] for uuid in part}

        def is_settled() -> bool:
            for talker in after[1::2]:  # who gave up before its answer ends when a silent one does
                talker.line.ping()
            found = states(url)
            return {uuid for uuid, state in found.items() if state == "open"} == kept

        until(is_settled, 60)
        assert {states(url)[uuid] for part in early for uuid in part} == {"broken"}


def can_begin(plane: ControlPlane) -> bool:
    """Tell whether another session can be begun."""
    with suppress(OSError), Talker(plane.url, patience=3) as talker:
        return talker.say({"release": []}) == {"released": {}}
    return False


class WithFewFiles(ControlPlane):
    """One that may open hardly more files than it has to keep free of clients."""

    FILES = 120

    def command(self, *arguments: str) -> list[str]:
        limited = f'ulimit -n {self.FILES} && exec "$@"'
        return ["bash", "-c", limited, "bash", *super().command(*arguments)]


def test_who_holds_a_session_keeps_it_while_files_are_used_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'register.sqlite'}"
    with serving(url, tmp_path, WithFewFiles) as plane, ExitStack() as stack:
        uuid = register(plane, "h1")
        first = stack.enter_context(Talker(plane.url))
        first.say(hold([uuid]))
        others: list[Talker] = []
        with suppress(OSError):
            while len(others) < WithFewFiles.FILES:
                others.append(stack.enter_context(Talker(plane.url, patience=3)))
        assert len(others) < WithFewFiles.FILES, "there are no more files"
        assert first.say({"release": []}) == {"released": {}}
        for talker in others:
            talker.break_off()
        until(lambda: can_begin(plane), 30)
        assert states(url)[uuid] == "open"
        assert "Traceback" not in plane.log()
