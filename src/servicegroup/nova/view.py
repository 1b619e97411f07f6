"""What a register says of everybody, in memory: listed once, and kept by its events.

Every transition there is an event, so an answer is as new as the latest event, and costs nothing
when Nova asks. While the register does not answer, cannot read its database or has nobody who
observes, nothing is known of anybody. Nor is it of a service that never joined: it may be one that
was not restarted yet, and cannot lose what it never had.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from servicegroup.agent.watch import follow
from servicegroup.errors import ControlPlaneUnavailable, ServiceGroupError
from servicegroup.events import Cursor, Event, EventFilter, EventKind, Page
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.nova.register import Known, Register

WAIT = 4
"""Whole seconds that a question for events waits, and the longest between two looks at whether the
register still knows."""

FIRST = 5.0
"""Seconds that the first question of a process waits for the list."""

_AGAIN = 2.0
"""Seconds until a register that refused this process is asked again."""

_STRANGER = Presence(PresenceState.UNKNOWN, detail="the register has no service of this name")

log = logging.getLogger("servicegroup.nova")


class _Closed(Exception):
    """Nobody wants to know any more."""


class RegisterView:
    """The answers of one register, kept by a daemon thread; safe to share between threads."""

    def __init__(self, register: Register) -> None:
        """Begin at once; does not wait for the register."""
        self._register = register
        self._services: dict[str, Member] = {}
        self._presences: dict[Member, dict[str, Presence]] = {}
        self._trouble: Presence | None = _unknown("the register was not listed yet")
        self._first = threading.Event()
        self._stopped = threading.Event()
        self._checked_at = float("-inf")
        self._is_listed = self._is_complete = False
        threading.Thread(target=self._run, name="servicegroup-view", daemon=True).start()

    def presence(self, member: Member) -> Presence:
        """Return what the register says of a member; only the first question waits."""
        if not self._first.is_set():
            self._first.wait(FIRST)
        if (trouble := self._trouble) is not None:
            return trouble
        told = self._presences.get(member)
        return _any_of(told.values()) if told else _STRANGER

    def present(self, group: str) -> tuple[dict[str, Presence], Presence]:
        """Return who is there of a group, by host, and what is said of all others."""
        self.presence(Member(group, ""))  # the first question waits
        if (trouble := self._trouble) is not None:
            return {}, trouble
        answers = {one: _any_of(told.values()) for one, told in list(self._presences.items())}
        found = {
            member.host: answer
            for member, answer in answers.items()
            if member.group == group and answer.state is PresenceState.PRESENT
        }
        return found, _STRANGER

    def close(self) -> None:
        """Follow no longer than the question for events that is on its way."""
        self._stopped.set()

    # -- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._keep()
        finally:
            self._register.close()

    def _keep(self) -> None:
        while not self._stopped.is_set():
            self._is_listed = self._is_complete = False
            try:
                self._follow()
            except _Closed:
                return
            except Exception as error:
                known = isinstance(error, ServiceGroupError)
                log.warning("Nova lost its view of the register: %s It begins anew.", error,
                            exc_info=None if known else error)  # fmt: skip
                self._lose(error)
                self._stopped.wait(_AGAIN)

    def _follow(self) -> None:
        """List, and apply what happens from then on, until stopped. Raises ServiceGroupError."""
        page = self._ask(EventFilter(), 0)
        place = page.place if page.next == page.last else Cursor(page.last)
        self._list()
        for event in follow(self._ask, EventFilter().at(place), self._stopped.wait):
            self._apply(event)

    def _ask(self, wanted: EventFilter, seconds: float) -> Page:
        """Ask for events, and note whether the register knows who is up.

        What the answer before this one told has been applied by now. Raises ServiceGroupError.
        """
        if self._stopped.is_set():
            raise _Closed
        if self._is_complete:
            self._trouble = None
        try:
            page = self._register.events(wanted, 0 if self._trouble else min(seconds, WAIT))
            if time.monotonic() - self._checked_at >= WAIT:
                if not self._register.is_observed():
                    raise ControlPlaneUnavailable("No control plane of the register observes.")
                self._checked_at = time.monotonic()
        except ServiceGroupError as error:
            self._lose(error)
            raise
        self._is_complete = self._is_listed and page.next == page.last
        return page

    def _lose(self, error: Exception) -> None:
        self._trouble = _unknown(f"the register cannot tell: {error}".rstrip("."))
        self._checked_at, self._is_complete = float("-inf"), False
        self._first.set()

    def _list(self) -> None:
        """Begin anew with what the register has now. Raises ServiceGroupError."""
        found = self._register.services()
        services: dict[str, Member] = {}
        presences: dict[Member, dict[str, Presence]] = {}
        for one in found:
            services[one.uuid] = one.member
            presences.setdefault(one.member, {})[one.uuid] = _told_of(one)
        self._services, self._presences = services, presences
        self._trouble, self._is_listed = None, True
        self._first.set()

    def _apply(self, event: Event) -> None:
        """Note what an event says of a service; after a gap begin anew."""
        if event.kind is EventKind.GAP:
            self._list()
        elif event.uuid is None or event.group is None or event.host is None:
            return
        elif event.kind is EventKind.DELETE:
            if (member := self._services.pop(event.uuid, None)) is not None:
                told = {**self._presences[member]}  # others may be reading
                del told[event.uuid]
                self._presences[member] = told
        elif event.after is not None or event.kind is EventKind.JOIN:
            member = self._services[event.uuid] = Member(event.group, event.host)
            known = self._presences.get(member, {})
            self._presences[member] = {**known, event.uuid: _told_by(event)}


def _told_of(one: Known) -> Presence:
    return _told(one.verdict.state == "up", one.incarnation, one.verdict.reason, one.words)


def _told_by(event: Event) -> Presence:
    presence = event.evidence and event.evidence.presence
    reason = event.reason.value if event.reason else "joining"
    words = presence.detail if presence else ""
    return _told(event.after != "down", event.incarnation or 0, reason, words)


def _told(is_up: bool, incarnation: int, reason: str, words: str) -> Presence:
    """Return an answer with the life that the register has a record of, be it up or down."""
    state = PresenceState.PRESENT if is_up else PresenceState.ABSENT
    detail = f"{reason} in the register{words and ': '}{words}"
    return Presence(state, frozenset({incarnation}), detail=detail)


def _any_of(told: Iterable[Presence]) -> Presence:
    """Return the answer of several services of one member: one that is up is enough."""
    answer = _STRANGER
    for one in told:
        if one.state is PresenceState.PRESENT:
            return one
        answer = one
    return answer


def _unknown(why: str) -> Presence:
    return Presence(PresenceState.UNKNOWN, detail=why)
