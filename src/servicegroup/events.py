"""What can happen to a service, as data: the kinds of events, and an event as everybody gets it.

An event is stored once and never changed. Ids grow by one, in the order of commits and without
holes, so whoever has seen event N asks for what is after N and can tell whether anything is lost.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Self

import msgspec

from servicegroup.decoding import converted, decoder
from servicegroup.enumeration import OpenEnum
from servicegroup.errors import ControlPlaneUnavailable, InvalidInput
from servicegroup.model import Evidence, Reason
from servicegroup.uuids import one_form


class EventKind(OpenEnum):
    """What happened, with a sentence for people, the same everywhere."""

    sentence: str

    def __new__(cls, value: str, sentence: str) -> Self:
        """Make a member: its name on the wire and its sentence."""
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.sentence = sentence
        return kind

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        kind = super()._missing_(value)
        if kind is not None:
            kind.sentence = "Something that only a newer release has words for."
        return kind

    # fmt: off
    UP = "service-up", "It is up."
    DOWN = "service-down", "It is down."
    JOIN = "service-join", "It registered for the first time."
    RESTART = "service-restart", "It registered again: a new incarnation."
    LEAVE = "service-leave", "It was stopped in order and left."
    EXIT = "service-exit", "Its agent saw the process exit."
    DELETE = "service-delete", "An operator deleted it."
    ENABLE = "service-enable", "An operator enabled it."
    DISABLE = "service-disable", "An operator disabled it."
    FORCE_DOWN = "service-force-down", "An operator or a fencer forced it down."
    UNFORCE = "service-unforce", "An operator took the force-down back."
    DEAF = "service-deaf", "It does not answer questions any more."
    ANSWERS = "service-answers", "It answers questions again."
    MIRROR = "service-mirror", "The API that it is mirrored from says something else of it."
    TOKEN_CREATE = "token-create", "An operator made a token."
    TOKEN_ROTATE = "token-rotate", "An operator gave a token a new secret."
    TOKEN_REVOKE = "token-revoke", "An operator ended a token."
    PROTECTION_ON = ("protection-on",
                     "Many lost one signal at once: the signal is suspect, the other one decides.")
    PROTECTION_OFF = "protection-off", "The suspect signal is believed again."
    GAP = "gap", "Older events are not kept any more: list the services again."
    # fmt: on


KEEP = timedelta(days=30)
"""How long events are kept, unless configured."""

KEEP_OF_OPERATORS = timedelta(days=365)
"""How long those of operators are, unless configured."""

OF_OPERATORS = frozenset(
    {
        *(EventKind.DELETE, EventKind.ENABLE, EventKind.DISABLE),
        *(EventKind.FORCE_DOWN, EventKind.UNFORCE),
        *(EventKind.TOKEN_CREATE, EventKind.TOKEN_ROTATE, EventKind.TOKEN_REVOKE),
    }
)
"""What operators did: kept by a count and an age of their own, whatever services do (F-59)."""


class Signal(OpenEnum):
    """One of the two proofs of life; each can be suspect while the other is credible."""

    PRESENCE = "presence"
    REPORTS = "reports"


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened, at ``at`` on the database's clock (naive UTC).

    Events of protection have a group and a zone but no service, those of tokens neither. ``before``
    and ``after`` are states, up or down, of a transition; ``seconds`` is how long ``before`` had
    lasted. ``actor`` is who did what an operator does. ``evidence`` is what the verdict followed
    from.
    """

    id: int = 0
    at: datetime
    kind: EventKind
    uuid: str | None = None
    host: str | None = None
    binary: str | None = None
    group: str | None = None
    zone: str | None = None
    incarnation: int | None = None
    before: str | None = None
    after: str | None = None
    reason: Reason | None = None
    seconds: float | None = None
    actor: str | None = None
    detail: str | None = None
    evidence: Evidence | None = None

    @property
    def cursor(self) -> Cursor:
        """The place after it, by which it is known again; a gap is no event of any log."""
        if self.kind is EventKind.GAP:
            return Cursor(self.id)
        return Cursor(self.id, mark_of(self.at, self.kind.value, self.uuid))


CURSOR_PATTERN = "([0-9]{1,18})(?:-([0-9a-f]{8}))?"
"""How a cursor is written."""


class Cursor(msgspec.Struct, frozen=True):
    """A place in the log: after the event of this id, and no other one of the same id (F-27).

    The log of a copy that took its original's place may give ids that the original gave too, to
    other events. Up to an event that both have they are the same, so its ``mark`` is enough to tell
    them apart. Without one the id alone counts.
    """

    id: int
    mark: str = ""

    def __str__(self) -> str:
        """Return it as ``after`` takes it: ``105-1f3a9c2e``, or ``105``."""
        return f"{self.id}-{self.mark}" if self.mark else str(self.id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cursor; raises InvalidInput for what is none."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise InvalidInput(
                f"after {text!r} is no place in the log; give the id of an event, or a cursor."
            )
        return cls(int(found[1]), found[2] or "")


_CURSOR = re.compile(CURSOR_PATTERN)


def mark_of(at: datetime, kind: str, uuid: str | None) -> str:
    """Return what tells an event from another one of the same id."""
    return blake2b(f"{at.isoformat()} {kind} {uuid}".encode(), digest_size=4).hexdigest()


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: each field that is not None must match; ``after`` is an id, times are UTC.

    ``mark`` is what the event of that id is known by, if it is known (see ``Cursor``). ``until`` is
    exclusive.
    """

    after: int | None = None
    mark: str = ""
    uuid: str | None = None
    group: str | None = None
    kind: EventKind | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        """Bring the uuid to the form in which events have it (F-54)."""
        if self.uuid is not None:
            msgspec.structs.force_setattr(self, "uuid", one_form(self.uuid))

    def at(self, place: Cursor | None) -> EventFilter:
        """Return the same filter for what is after a place."""
        return msgspec.structs.replace(
            self, after=place and place.id, mark="" if place is None else place.mark
        )

    @property
    def place(self) -> Cursor | None:
        """After which place, if after any."""
        return None if self.after is None else Cursor(self.after, self.mark)

    def matches(self, event: Event) -> bool:
        """Tell whether an event is among them."""
        return (
            (self.after is None or event.id > self.after)
            and (self.uuid is None or event.uuid == self.uuid)
            and (self.group is None or event.group == self.group)
            and (self.kind is None or event.kind is self.kind)
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at < self.until)
        )

    @property
    def is_filtered(self) -> bool:
        """Whether it leaves out events after ``after``."""
        return any(
            given is not None
            for given in (self.uuid, self.group, self.kind, self.since, self.until)
        )

    def query(self) -> dict[str, str]:
        """Return what is given as ``/v1/events`` takes it."""
        fields = {**msgspec.to_builtins(self), "after": self.place, "mark": None}
        return {name: str(value) for name, value in fields.items() if value is not None}


class Log(msgspec.Struct, frozen=True):
    """Where the log of events stands: the newest id, and the newest one that was purged.

    Up to the latter, what is kept is what operators did. ``mark`` is the newest event's.
    """

    last: int = 0
    purged: int = 0
    mark: str = ""


class Page(msgspec.Struct, frozen=True):
    """Some events, oldest first; ``next`` is what to ask after for more, ``last`` the newest id.

    Where events after the one asked for are not kept any more, a ``gap`` stands in their place; in
    a filtered page one, the first, stands for all. ``cursor`` is ``next`` with its mark, and holds
    after a failover too.
    """

    events: list[Event]
    next: int
    last: int
    cursor: str = ""

    @property
    def place(self) -> Cursor:
        """Where to go on; of a control plane before cursors by the id alone."""
        return Cursor.parse(self.cursor) if self.cursor else Cursor(self.next)


class RawPage(msgspec.Struct, frozen=True):
    """A page as another release may tell it: each event of it is understood as far as it goes."""

    events: list[msgspec.Raw]
    next: int
    last: int
    cursor: str = ""

    def decode(self) -> Page:
        """Return the page in our words.

        Raises ControlPlaneUnavailable for what is no event in any release.
        """
        try:
            events = [_decoded(event) for event in self.events]
            return Page(events, self.next, self.last, self.cursor)
        except msgspec.MsgspecError as error:
            raise ControlPlaneUnavailable(
                f"The answer holds what is no event ({error})."
            ) from error


def _decoded(told: msgspec.Raw) -> Event:
    """Return an event; without its evidence where a newer release made that of other parts."""
    try:
        return decoder(Event).decode(told)
    except msgspec.ValidationError:
        fields = decoder(dict[str, object]).decode(told)
        return converted({**fields, "evidence": None}, Event)


class Protection(msgspec.Struct, frozen=True):
    """A signal that is suspect in one group and zone now, and since when.

    ``members`` are held up by it now, ``peak`` were at the most.
    """

    group: str
    zone: str
    signal: Signal
    since: datetime
    members: int
    peak: int


def moment(name: str, text: str) -> datetime:
    """Return a time as naive UTC; without a zone it is UTC already. Raises InvalidInput."""
    try:
        given = datetime.fromisoformat(text)
        return given.astimezone(UTC).replace(tzinfo=None) if given.tzinfo else given
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{name} {text!r} is not a time; write it like 2026-01-31T12:00:00, in UTC."
        ) from None
