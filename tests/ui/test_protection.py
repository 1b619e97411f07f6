"""A suspect signal is at the top of the page, with what to do, for as long as it is suspect."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, select

from control_plane import ControlPlane
from servicegroup.events import Event, EventKind
from servicegroup.store.clock import utcnow
from servicegroup.store.database import connect, write
from servicegroup.store.events import append
from servicegroup.store.tables import observer, protections
from ui.browser import PATIENCE, Browser
from waiting import until

MINUTE = timedelta(minutes=1)


def suspect(connection: Connection) -> None:
    """Record what an observer does who suspects the presence of a group, and who lives on."""
    now = connection.scalar(select(utcnow()))
    lease = {"holder": "elsewhere", "number": 1000, "renewed_at": now + 60 * MINUTE}
    connection.execute(observer.delete())
    connection.execute(observer.insert().values(id=1, observed_at=now + 60 * MINUTE, **lease))
    place = {"topic": "compute", "zone": "nova", "signal": "presence"}
    connection.execute(protections.insert().values(since=now - MINUTE, members=22, **place))
    append(connection, [_event(connection, EventKind.PROTECTION_ON)])


def believe(connection: Connection) -> None:
    """Record that the signal is believed again."""
    connection.execute(protections.delete())
    append(connection, [_event(connection, EventKind.PROTECTION_OFF)])


def _event(connection: Connection, kind: EventKind) -> Event:
    now = connection.scalar(select(utcnow()))
    return Event(at=now, kind=kind, group="compute", zone="nova", detail="presence")


def test_a_suspect_signal_is_shown_until_it_is_believed_again(
    control_plane: ControlPlane, browser: Browser
) -> None:
    engine = connect(control_plane.connection)
    control_plane.request("POST", "/v1/services", {"host": "node1", "binary": "nova-compute"})
    browser.open(control_plane.url)
    browser.until_row("node1")
    assert browser.texts("#protections li") == []
    write(engine, suspect)
    browser.until_text("#protections", "the presence of group compute, zone nova, is suspect")
    browser.until_text("#protections", "22 members")
    browser.until_text("#protections", "Check the backend first")
    assert "min" in browser.text("#protections") or " s)" in browser.text("#protections")
    browser.until_text("#events", "Protection began for compute, nova")
    write(engine, believe)
    until(lambda: browser.texts("#protections li") == [], PATIENCE)
    browser.until_text("#events", "Protection ended")
    engine.dispose()
