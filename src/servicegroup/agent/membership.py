"""A service's membership: it registers, sends both signals, and obeys what it is told.

The report goes to the control plane, the heartbeat to each driver's backend, each by its own path
and thread, so that each proves its own path (AND-3). Without a driver there is one daemon thread.
Deleted and superseded end the membership for good; left and unknown begin a new incarnation.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import msgspec

from servicegroup.agent.alarm import Alarm
from servicegroup.agent.client import DEFAULT_TIMEOUT, Client, Joined, attempt_timeout
from servicegroup.agent.health import Health
from servicegroup.agent.heart import Heart
from servicegroup.agent.heartbeats import Heartbeats, refusal, renewed
from servicegroup.agent.leaving import leave_until
from servicegroup.agent.session import SessionHeartbeats
from servicegroup.agent.state import State
from servicegroup.errors import InvalidInput, ServiceGroupError
from servicegroup.messages import Leave, Refusals, Report, Reported
from servicegroup.model import Departure, Member
from servicegroup.names import check_name, topic_of

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("servicegroup.agent")

_INTERVAL_BEFORE_JOINING = 10.0
_FINISH_REPORT = 1.0
_IN_DOUBT = 3 * DEFAULT_TIMEOUT
"""Seconds in which a registration without an answer may still be obeyed, or be found to have been.

A control plane undoes one that takes it longer than ``DEFAULT_TIMEOUT``.
"""


class Membership:
    """One service's life in the register, from ``start`` to ``leave``; a context manager.

    ``uuid`` and ``incarnation`` are None until it is registered.
    """

    def __init__(
        self,
        binary: str,
        *,
        client: Client,
        host: str | None = None,
        group: str = "",
        zone: str = "",
        version: int = 0,
        healthy: Callable[[], object] | None = None,
        answers: bool = False,
        closing: Callable[[], None] | None = None,
    ) -> None:
        """Check the arguments, which are those of ``join``; ``closing`` is called at the end.

        Raises InvalidInput.
        """
        host = host or os.uname().nodename
        for field, value in (("host", host), ("binary", binary), ("group", group), ("zone", zone)):
            if value or field in ("host", "binary"):
                check_name(field, value)
        if not 0 <= version < 2**31:
            raise InvalidInput(f"version {version} is not between 0 and {2**31 - 1}.")
        self.host, self.binary = host, binary
        self._service = (host, binary, group, zone, version)
        self._member = Member(group or topic_of(binary), host)
        self._client = client
        self._closing = closing
        self._who = f"{binary} on {host}"
        self._health = Health(self._who, healthy)
        self._answers = answers
        self._alarm = Alarm()
        self._heart = Heart(
            self._who, "the control plane", self._beat, _INTERVAL_BEFORE_JOINING, stop=self._alarm
        )
        self._thread = threading.Thread(target=self._run, name="servicegroup-report", daemon=True)
        self._heartbeats: list[Heartbeats] = []
        self._session: SessionHeartbeats | None = None
        self._joined: Joined | None = None
        self._failing: str | None = None
        self._in_doubt_until = 0.0
        self._end: State | None = None
        self._departure = (Departure.STOPPED, "")
        self._leaving = threading.Lock()
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        """Return the membership, which has started already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self.leave()

    # -- what there is to know ---------------------------------------------------------------

    @property
    def uuid(self) -> str | None:
        """The record's uuid, None before the first registration."""
        return self._joined.uuid if self._joined else None

    @property
    def incarnation(self) -> int | None:
        """Which life of the service this is, None before the first registration."""
        return self._joined.incarnation if self._joined else None

    @property
    def report_interval(self) -> float:
        """Seconds between two reports."""
        return self._heart.interval

    @property
    def state(self) -> State:
        """Where the membership stands now."""
        if self._end is not None:
            return self._end
        if self._heart.is_lost:
            return State.LOST
        if self._joined is None:
            return State.JOINING
        return State.FAILING if self._failing else State.REPORTING

    @property
    def is_lost(self) -> bool:
        """Whether the control plane did not answer the last attempt."""
        return self.state is State.LOST

    @property
    def detail(self) -> str:
        """Why it is lost or failing, for people; empty otherwise."""
        return self._heart.error or self._failing or ""

    @property
    def last_report(self) -> datetime | None:
        """When the control plane last answered a report, by this host's clock (aware, UTC)."""
        age = self._heart.success_age
        return None if age is None else datetime.now(UTC) - timedelta(seconds=age)

    @property
    def beats(self) -> int:
        """How many times reporting was tried, for a watchdog: it stands still with the loop."""
        return self._heart.beats

    # -- beginning and end -------------------------------------------------------------------

    def start(self) -> None:
        """Register and report from now on, in a daemon thread; called once."""
        self._thread.start()

    def answer(self) -> None:
        """Answer the control plane's question, if one waits: call this where the work is done.

        Call it each time round, also while there is nothing to do, more often than ``[rpc]
        timeout`` of the control plane. It waits for nothing, costs nothing where no question
        waits, and may be called from any thread. A forked child answers for nobody. Never raises.
        """
        session = self._session
        if session is not None and os.getpid() == self._pid:
            session.answer()

    def leave(
        self,
        how: Departure = Departure.STOPPED,
        detail: str = "",
        *,
        timeout: float = 5.0,
    ) -> None:
        """Leave in order: the control plane first, then the drivers' backends.

        Takes ``timeout`` seconds at most, and tries again while they last; who is not told finds
        out by silence. Later calls do nothing, nor does one in a forked child. Never raises.
        """
        if os.getpid() != self._pid or not self._leaving.acquire(blocking=False):
            return
        deadline = time.monotonic() + timeout
        self._departure = (how, detail)
        self._heart.stop()
        if self._thread is not threading.current_thread():
            # A report under way is answered in milliseconds; a hanging one is not waited for.
            self._thread.join(min(_FINISH_REPORT, timeout))
        if self._end is None:
            self._end = State.LEFT
            if self._joined is not None:
                self._report_leave(self._joined, deadline)
        self._stop_heartbeats()
        self._close()
        for heartbeats in (*self._heartbeats, self._session):
            if heartbeats is not None:
                heartbeats.wait(deadline - time.monotonic())

    def _report_leave(self, joined: Joined, deadline: float) -> None:
        how, detail = self._departure
        leave = Leave(joined.uuid, joined.incarnation, how, detail or None)
        leave_until(self._client, leave, self._who, deadline)

    # -- one beat ----------------------------------------------------------------------------

    def _run(self) -> None:
        self._heart.run()
        if self._end is not None:  # else leave() goes on, and closes when it is done
            self._close()

    def _beat(self) -> None:
        """Register if need be, and report at once: a restarted service is up without delay."""
        joined = self._joined or self._register()
        self._failing = self._health.ask()
        if self._heart.is_stopping:
            return
        report = Report(joined.uuid, joined.incarnation, self._failing, refusal(self._heartbeats))
        answer = self._send(report)
        if report.failing and joined.uuid in answer.invalid:
            # The database has not all of its letters; a reason with gaps is better than none (F-2).
            plain = report.failing.encode("ascii", "replace").decode()
            answer = self._client.report([msgspec.structs.replace(report, failing=plain)])
        self._obey(answer, joined)
        if self._joined is joined and answer.terms != joined.fingerprint:
            self._renew(joined)

    def _send(self, report: Report) -> Reported:
        """Return the answer to a report, over the session while one is open."""
        answer = None
        if self._session is not None:
            answer = self._session.report([report], self._client.timeout / 2)
        return self._client.report([report]) if answer is None else answer

    def _register(self) -> Joined:
        unanswered = self._client.unanswered
        try:
            joined = self._client.register(*self._service)
        finally:
            if self._client.unanswered != unanswered:
                self._in_doubt_until = time.monotonic() + _IN_DOUBT
        self._keep_to(joined)
        log.info("%s joined as incarnation %d.", self._who, joined.incarnation)
        if self._end is State.LEFT:  # this answer came after leave() had given up waiting for it
            self._report_leave(joined, time.monotonic() + self._client.timeout)
        elif not self._heart.is_stopping:
            self._adopt(joined)
        return joined

    def _renew(self, joined: Joined) -> None:
        """Take on the terms in force now, in the same life, as when a fleet changes drivers."""
        if self._heart.is_stopping:
            return
        terms = msgspec.structs.asdict(self._client.terms())
        joined = Joined(uuid=joined.uuid, incarnation=joined.incarnation, **terms)
        self._keep_to(joined)
        self._adopt(joined)
        names = ", ".join(settings.name for settings in joined.drivers) or "none"
        log.info("%s keeps to new terms; drivers: %s.", self._who, names)

    def _keep_to(self, joined: Joined) -> None:
        self._joined = joined
        self._client.timeout = attempt_timeout(joined.report_interval, joined.service_down_time)
        self._heart.interval = joined.report_interval

    def _adopt(self, joined: Joined) -> None:
        """Heartbeat to the drivers the control plane names, and to no others; hold a session."""
        self._heartbeats = renewed(self._heartbeats, self._who, self._member, joined, self._health)
        for heartbeats in self._heartbeats:
            heartbeats.start()
        self._hold_session(joined)

    def _hold_session(self, joined: Joined) -> None:
        """Hold a session where the control plane wants one, and none where it does not."""
        session, planes, wanted = self._session, self._client.planes, joined.session
        if wanted is None or planes is None:
            self._session = None
            if session is not None:
                session.stop()
        elif session is not None:
            session.renew(joined, wanted)
        else:
            self._session = SessionHeartbeats(
                self._who,
                wanted,
                joined,
                self._health,
                planes,
                self._alarm.ring,
                answers=self._answers,
            )
            self._session.start()

    def _obey(self, refusals: Refusals, joined: Joined) -> None:
        """Do what the control plane's answer asks for; nothing when the report was accepted."""
        if self._heart.is_stopping:
            return
        if joined.uuid in refusals.deleted:
            self._finish(State.DELETED)
            log.warning(
                "%s was deleted from the register: it stays away until it is restarted.", self._who
            )
        elif joined.uuid in refusals.superseded:
            self._superseded(joined)
        elif joined.uuid in refusals.left or joined.uuid in refusals.unknown:
            log.info("%s is not known as incarnation %d any more.", self._who, joined.incarnation)
            self._joined = None
            self._register()

    def _superseded(self, joined: Joined) -> None:
        if time.monotonic() < self._in_doubt_until:
            # The newer incarnation may be our own: a registration whose answer never came, maybe
            # from another control plane, which was slower than the one that answered.
            self._in_doubt_until, self._joined = 0.0, None
            self._register()
            return
        newer: int | None = None
        with contextlib.suppress(ServiceGroupError):
            newer = self._client.incarnation(joined.uuid)
        self._finish(State.SUPERSEDED)
        log.warning(
            "%s is superseded: this process is incarnation %d and the register knows %s."
            " It stops reporting; two processes claim this host and binary, or one was restarted.",
            self._who,
            joined.incarnation,
            newer or "a newer one",
        )

    def _finish(self, end: State) -> None:
        self._end = end
        self._heart.stop()
        self._stop_heartbeats()

    def _close(self) -> None:
        if self._closing is not None:
            self._closing()

    def _stop_heartbeats(self) -> None:
        for heartbeats in (*self._heartbeats, self._session):
            if heartbeats is not None:
                heartbeats.stop()
