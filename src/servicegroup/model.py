"""The nouns of the register, all frozen: what is known of a service and what is concluded.

Stamps are naive UTC datetimes on the database's clock (SQL-2); durations are seconds. What is made
once a service and listing (``gc=False``) can hold no reference cycle, so the collector skips it.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Self

import msgspec

from servicegroup.enumeration import OpenEnum
from servicegroup.rpc import Rpc
from servicegroup.uuids import one_form


class Member(msgspec.Struct, frozen=True, order=True, cache_hash=True, gc=False):
    """One entry of a group, as a liveness backend knows it: the group's name and the host's."""

    group: str
    host: str


class PresenceState(OpenEnum):
    """What a backend says of a member. UNKNOWN is an answer, and different from ABSENT."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Presence(msgspec.Struct, frozen=True, gc=False):
    """A backend's answer for one member.

    ``incarnations`` are the lives of the member the backend holds now (LC-4). ``age`` is how many
    seconds ago the backend knew this, where it is known. ``detail`` is for people: a session, the
    time to live that is left, why the answer is UNKNOWN.
    """

    state: PresenceState
    incarnations: frozenset[int] = frozenset()
    age: float | None = None
    detail: str = ""


class Departure(enum.StrEnum):
    """How a service left: it was stopped in order, or its agent saw it exit."""

    STOPPED = "stopped"
    EXITED = "exited"


class OnUnknown(OpenEnum):
    """What decides when the driver cannot tell: the record, or caution (the spec's strict AND)."""

    RECORD = "record"
    DOWN = "down"


class Reason(OpenEnum):
    """Why a verdict is what it is: its state, and a sentence for people, the same everywhere.

    Both are plain attributes, because a list asks every service for them. A reason that only a
    newer release knows is none to rely on: its state is down.
    """

    state: str
    sentence: str

    def __new__(cls, value: str, state: str, sentence: str) -> Self:
        """Make a member: its name on the wire, ``up`` or ``down``, and its sentence."""
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.state = state
        reason.sentence = sentence
        return reason

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        reason = super()._missing_(value)
        if reason is not None:
            reason.state, reason.sentence = "down", "Only a newer release has words for it."
        return reason

    # fmt: off
    FORCED_DOWN = "forced_down", "down", "An operator or a fencer forced it down."
    LEFT = "left", "down", "It was stopped in order and left."
    EXITED = "exited", "down", "Its agent saw the process exit."
    SILENT = "silent", "down", "Its reports stopped for longer than service_down_time."
    TOLD_DOWN = "told_down", "down", "The API that it is mirrored from says that it is down."
    ABSENT = "absent", "down", "The driver says it is not present, though its last report is fresh."
    UNKNOWN = ("unknown", "down",
               "The driver cannot tell whether it is present, and on_unknown is down.")
    REPORTING = "reporting", "up", "Its reports are fresh."
    PRESENT = "present", "up", "Its reports are fresh and the driver says it is present."
    JOINING = "joining", "up", "It has just registered and is still joining the driver's group."
    UNCONFIRMED = ("unconfirmed", "up",
                   "Its reports are fresh; the driver cannot tell, so the record decides.")
    HELD = ("held", "up",
            "Many lost one of their two signals at once: it is suspect, and the other one decides.")
    DEAF = "deaf", "up", "Its other signals say that it is up, but it answers no questions."
    # fmt: on

    @property
    def is_up(self) -> bool:
        """Whether a service judged for this reason is up."""
        return self.state == "up"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a verdict is measured against; part of the evidence, so that it can be recomputed.

    All in seconds, and the same for every service: agents learn them when they register.
    """

    report_interval: float = 10.0
    service_down_time: float = 60.0
    heartbeat_interval: float = 3.0
    membership_ttl: float = 10.0
    driver: str = "db"
    on_unknown: OnUnknown = OnUnknown.RECORD


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """Every fact the rule looks at for one service. ``judge(evidence)`` recomputes the verdict.

    Ages and durations are seconds. ``report_age`` counts from ``last_seen_up``, or from
    ``created_at`` when it ``never_reported``; ``unheard`` is how much of it nobody listened.
    ``presence`` is None where the driver has no signal of its own beside the record (``db``).
    ``incarnation`` None means that any living incarnation counts. The observer's word:
    ``absent_age`` counts from the moment the member was last known absent, ``held_age`` from the
    moment a signal of it became suspect, and ``observed`` says that an observer is at work, so
    an absence counts only once it is known so. ``backend_error`` is the agent's word and decides
    nothing: whoever cannot reach the backend is absent from it. ``rpc`` is None where the service
    was not asked lately.
    """

    limits: Limits
    report_age: float
    unheard: float = 0.0
    never_reported: bool = False
    forced_down: bool = False
    departure: str | None = None
    detail: str | None = None
    incarnation: int | None = None
    registered_age: float | None = None
    presence: Presence | None = None
    seen_present: bool = False
    absent_age: float | None = None
    stamped_ahead: float = 0.0
    held_age: float | None = None
    observed: bool = False
    backend_error: str | None = None
    rpc: Rpc | None = None
    mirror: str | None = None

    @property
    def silence(self) -> float:
        """Seconds without a report while somebody listened."""
        return self.report_age - self.unheard


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Up or down, with its reason and the evidence it follows from; made by ``judge`` alone.

    ``state`` is Nova's word, ``up`` or ``down``; ``sentence`` is the reason for people.
    """

    state: str
    reason: Reason
    sentence: str
    evidence: Evidence

    @property
    def is_up(self) -> bool:
        """Whether the service is up."""
        return self.state == "up"


class Service(msgspec.Struct, frozen=True, gc=False):
    """A record of the register: a binary on a host, by Nova's column names, and its verdict.

    ``deleted`` is 0, or the row's own id once soft-deleted, as in Nova. The observer keeps when
    the service was last known absent, since when a signal of it is suspect, its recorded state
    with its beginning, and until when it counts as flapping (None once that has passed).
    ``backend_error`` is what its agent heard last from a backend that takes no heartbeats of it,
    None while they succeed (F-1). ``mirror`` is the API that it is mirrored from, if it is. Read
    through ``ServiceGroup`` it carries its verdict, so ``is_up`` is an attribute (S2).
    """

    id: int
    uuid: str
    host: str
    binary: str
    topic: str
    zone: str
    version: int
    incarnation: int
    report_count: int
    disabled: bool
    disabled_reason: str | None
    forced_down: bool
    created_at: datetime
    updated_at: datetime | None
    last_seen_up: datetime | None
    registered_at: datetime
    left_at: datetime | None
    departure: str | None
    detail: str | None
    backend_error: str | None
    absent_since: datetime | None
    held_since: datetime | None
    observed_state: str | None
    observed_since: datetime | None
    flapping_until: datetime | None
    mirror: str | None
    deleted: int
    deleted_at: datetime | None
    verdict: Verdict | None = None

    @property
    def is_up(self) -> bool:
        """Whether the service is up: RPC liveness and service liveness (spec S2).

        Raises ValueError for a record that was not read through ``ServiceGroup``.
        """
        return self.judged.is_up

    @property
    def judged(self) -> Verdict:
        """The verdict; raises ValueError for a record that was not read through the layer."""
        if self.verdict is None:
            raise ValueError(f"Service {self.uuid} was not judged; read it through ServiceGroup.")
        return self.verdict

    @property
    def member(self) -> Member:
        """The service as a liveness backend knows it."""
        return Member(self.topic, self.host)

    @property
    def status(self) -> str:
        """``enabled`` or ``disabled``: the operator's intent, never liveness (AND-7)."""
        return "disabled" if self.disabled else "enabled"


class ServiceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which services: each field that is not None must match exactly, case included."""

    host: str | None = None
    binary: str | None = None
    group: str | None = None
    zone: str | None = None
    disabled: bool | None = None
    marker: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        """Bring the marker to the form in which records have it (F-54)."""
        if self.marker is not None:
            msgspec.structs.force_setattr(self, "marker", one_form(self.marker))


class VersionRange(msgspec.Struct, frozen=True):
    """Lowest and highest service version of a binary; forced-down and deleted left out (S8)."""

    binary: str
    minimum: int
    maximum: int


class BinaryVersions(VersionRange, frozen=True):
    """The same, and how many services of the binary run each version."""

    histogram: dict[int, int]
