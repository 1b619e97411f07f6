"""What came of questions in sessions, in the record: only changes, of one life, with events."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, event, insert, select

from servicegroup.events import EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.model import ServiceFilter
from servicegroup.sessions import Session, SessionEnd
from servicegroup.store.clock import utcnow
from servicegroup.store.questions import Heard
from servicegroup.store.sessions import Ending, Opening, SessionWriter
from servicegroup.store.store import Store
from servicegroup.store.tables import sessions
from support.statements import statements

UNKNOWN = (None, None, None)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no mark grow old because the machine is busy."""
    monkeypatch.setattr("servicegroup.store.sessions.MARK_TOLERANCE", 300)


@pytest.fixture
def plane(engine: Engine) -> SessionWriter:
    """Give a control plane that marks."""
    writer = SessionWriter(engine, "node1")
    writer.begin_anew([])
    return writer


class Life:
    """A service in one life, whose sessions a control plane holds."""

    def __init__(self, group: ServiceGroup, plane: SessionWriter, host: str = "h1") -> None:
        self._group = group
        self._plane = plane
        self._store = Store(group._store.engine, with_sessions=True)
        joined = group.join(host, "nova-compute")
        self.uuid, self.incarnation = joined.uuid, joined.incarnation
        self._number = 0

    def open(self) -> str:
        self._number += 1
        name = f"s{self.incarnation}.{self._number}"
        self._plane.open([Opening(self.uuid, self.incarnation, self._number, name, True)])
        return name

    def hear(self, session: str, deaf_for: float | None, *, together: bool = False) -> None:
        self._plane.end([], [Heard(self.uuid, session, deaf_for, together)])

    def known(self) -> Session | None:
        snapshot = self._store.by_id(self.uuid)
        return snapshot.sessions.get(snapshot.services[0].id)

    def deaf_for(self) -> float | None:
        """Return for how many seconds it has been deaf, None if it is not known to be."""
        snapshot = self._store.by_id(self.uuid)
        found = snapshot.sessions[snapshot.services[0].id]
        if found.asked_incarnation != self.incarnation or found.deaf_since is None:
            return None
        return (snapshot.listening.now - found.deaf_since).total_seconds()

    def events(self) -> list[EventKind]:
        page = self._group.events(EventFilter(uuid=self.uuid), 100)
        about = (EventKind.DEAF, EventKind.ANSWERS)
        return [one.kind for one in page.events if one.kind in about]


@pytest.fixture
def life(group: ServiceGroup, plane: SessionWriter) -> Life:
    """Give a service that registered."""
    return Life(group, plane)


def asked(found: Session | None) -> tuple[object, object, object]:
    assert found is not None
    return (found.asked_incarnation, found.deaf_since, found.deaf_together)


def test_nothing_is_known_of_who_was_not_asked(life: Life) -> None:
    life.open()
    assert asked(life.known()) == UNKNOWN


def test_a_first_answer_is_known_and_no_event(life: Life) -> None:
    life.hear(life.open(), None)
    assert asked(life.known()) == (1, None, False)
    assert life.events() == []


def test_who_turns_deaf_has_been_since_its_question_until_it_answers(
    life: Life, group: ServiceGroup
) -> None:
    session = life.open()
    life.hear(session, 25.0)
    deaf_for = life.deaf_for()
    assert deaf_for is not None
    assert 25 <= deaf_for < 30
    life.hear(session, None)
    assert life.deaf_for() is None
    assert life.events() == [EventKind.DEAF, EventKind.ANSWERS]
    page = group.events(EventFilter(kind=EventKind.ANSWERS), 10)
    (again,) = page.events
    assert again.seconds is not None
    assert 25 <= again.seconds < 30
    assert (again.host, again.group, again.incarnation) == ("h1", "compute", 1)


def test_what_is_known_already_is_not_written(life: Life, engine: Engine) -> None:
    session = life.open()
    life.hear(session, 5.0)
    written: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda c, u, text, *_: written.append(text))
    life.hear(session, 15.0)
    assert not any(text.startswith("UPDATE sessions") for text in written)
    assert life.events() == [EventKind.DEAF]


def test_deafness_belongs_to_the_life_and_not_to_its_session(life: Life) -> None:
    life.hear(life.open(), 60.0)
    session = life.open()
    deaf_for = life.deaf_for()
    assert deaf_for is not None
    assert deaf_for >= 60
    life.hear(session, 10.0)
    assert life.deaf_for() >= deaf_for  # type: ignore[operator]
    assert life.events() == [EventKind.DEAF]


def test_a_newer_life_begins_without(life: Life, group: ServiceGroup, plane: SessionWriter) -> None:
    life.hear(life.open(), 60.0)
    newer = Life(group, plane)
    assert newer.incarnation == 2
    newer.open()
    assert newer.deaf_for() is None
    newer.hear("s2.1", None)
    assert asked(newer.known()) == (2, None, False)
    assert newer.events() == [EventKind.DEAF], "the former life's, which never answered"


@pytest.mark.parametrize("deaf_for", [None, 60.0])
def test_what_is_heard_of_a_former_session_is_late(life: Life, deaf_for: float | None) -> None:
    former = life.open()
    session = life.open()
    life.hear(session, None if deaf_for else 60.0)
    before = asked(life.known())
    life.hear(former, deaf_for)
    assert asked(life.known()) == before


def test_a_crowd_is_known_as_one_and_may_cease_to_be(life: Life) -> None:
    session = life.open()
    life.hear(session, 10.0)
    for together in (True, False):
        life.hear(session, 20.0, together=together)
        assert asked(life.known())[2] is together
    assert life.events() == [EventKind.DEAF]


def test_who_is_gone_is_no_longer_heard_of(
    life: Life, group: ServiceGroup, plane: SessionWriter
) -> None:
    session = life.open()
    plane.end([], [Heard("00000000-0000-4000-8000-000000000000", "s", 9.0)])
    group.join("h1", "nova-compute")
    life.hear(session, 60.0)
    group.delete(life.uuid)
    life.hear(session, 60.0)
    assert life.events() == []


def test_an_older_release_writes_sessions_beside(
    life: Life, plane: SessionWriter, engine: Engine
) -> None:
    """It knows nothing of the columns; ours are left alone by openings, too."""
    id_ = Store(engine).by_id(life.uuid).services[0].id
    with engine.begin() as connection:
        now = connection.execute(select(utcnow())).scalar_one()
        row = {"service_id": id_, "incarnation": 1, "number": 1, "session": "old"}
        connection.execute(insert(sessions).values(**row, plane=plane.id, opened_at=now))
    assert asked(life.known()) == UNKNOWN
    life.hear("old", None)
    assert asked(life.known()) == (1, None, False)


def test_ends_and_answers_are_one_transaction(
    life: Life, group: ServiceGroup, plane: SessionWriter, engine: Engine
) -> None:
    other = Life(group, plane, "h2")
    ending, session = other.open(), life.open()
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)
    plane.end([Ending(other.uuid, ending, SessionEnd.BROKEN)], [Heard(life.uuid, session, 60.0)])
    assert len(commits) == 1
    found = other.known()
    assert found is not None
    assert found.ended_at is not None
    assert life.deaf_for() is not None


def test_many_cost_no_more_questions(
    group: ServiceGroup, plane: SessionWriter, engine: Engine
) -> None:
    def asked(many: int) -> int:
        lives = [Life(group, plane, f"h{many}-{n}") for n in range(many)]
        heard = [Heard(life.uuid, life.open(), 60.0) for life in lives]
        with statements(engine) as seen:
            plane.end([], heard)
        return len(seen)

    assert asked(40) == asked(2)


def test_a_list_shows_it_in_the_statement_that_it_is(life: Life, engine: Engine) -> None:
    life.hear(life.open(), 60.0)
    store = Store(engine, with_sessions=True)
    store.snapshot()
    with statements(engine) as seen:
        (found,) = store.snapshot(ServiceFilter(host="h1")).sessions.values()
    assert found.deaf_since is not None
    assert found.deaf_since < found.opened_at + timedelta(seconds=1)
    assert sum("sessions" in text for text in seen) == 1
