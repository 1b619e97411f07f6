"""What goes over the wire under ``/v1``: the bodies it takes and gives, each a frozen Struct.

msgspec decodes and validates in one step, so a body that does not fit is refused by its type.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sized
from functools import cache
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import msgspec

from servicegroup.decoding import decoder
from servicegroup.driver_state import DriverState
from servicegroup.errors import InvalidInput
from servicegroup.events import Protection
from servicegroup.explanation import Explanation
from servicegroup.messages import Hold, Leave, OfLife, Report
from servicegroup.model import BinaryVersions, Service
from servicegroup.names import Given, Name
from servicegroup.uuids import LONGEST, one_form

L = TypeVar("L", bound=OfLife)
T = TypeVar("T")

MOST_LIVES = 5_000
"""Reports, or departures, of one request: as many as a batch of everybody's (F-60)."""

_MANY = msgspec.Meta(extra_json_schema={"maxItems": MOST_LIVES})

PrunableReason = Literal["left", "exited", "silent", "forced_down"]
"""Reasons to be down of services that are not heard of."""


class NewService(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registration; each one is a new incarnation of the service.

    Names are printable: without control, format and unassigned characters, and without spaces
    other than U+0020. An empty group or zone is chosen by the control plane.
    """

    host: Name
    binary: Name
    group: Given = ""
    zone: Given = ""
    version: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0


class Reports(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reports of up to 5,000 services; ``failing`` withholds the stamp and says why."""

    reports: Annotated[list[Report], _MANY]

    def __post_init__(self) -> None:
        """Raise InvalidInput for more than a request may hold."""
        _check_number("reports", self.reports)


class Leaves(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Departures of up to 5,000 services."""

    leaves: Annotated[list[Leave], _MANY]

    def __post_init__(self) -> None:
        """Raise InvalidInput for more than a request may hold."""
        _check_number("leaves", self.leaves)


class Holds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lives, up to 5,000, that a session is to speak for."""

    hold: Annotated[list[Hold], _MANY]

    def __post_init__(self) -> None:
        """Raise InvalidInput for more than a frame may hold."""
        _check_number("hold", self.hold)


class Releases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lives, up to 5,000, that a session speaks for no longer."""

    release: Annotated[list[OfLife], _MANY]

    def __post_init__(self) -> None:
        """Raise InvalidInput for more than a frame may hold."""
        _check_number("release", self.release)


class Answers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lives, up to 5,000, that answer what they were asked."""

    answers: Annotated[list[OfLife], _MANY]

    def __post_init__(self) -> None:
        """Raise InvalidInput for more than a frame may hold."""
        _check_number("answers", self.answers)


class Fault(msgspec.Struct, frozen=True):
    """What is said of an error, in whichever envelope."""

    code: int
    message: str


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An operator's edit; what is not given stays as it is."""

    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    disabled_reason: str | msgspec.UnsetType | None = msgspec.UNSET
    forced_down: bool | msgspec.UnsetType = msgspec.UNSET


class Prune(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which services to delete: those that are down for one of the reasons and match every name.

    ``unseen`` is how many seconds at least each has not reported while somebody listened. A
    ``dry_run`` deletes none.
    """

    reasons: Annotated[list[PrunableReason], msgspec.Meta(min_length=1, max_length=8)]
    host: Name | None = None
    binary: Name | None = None
    group: Name | None = None
    zone: Name | None = None
    unseen: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidInput for what could end more than was meant, whoever makes it."""
        if not self.reasons:
            raise InvalidInput("reasons is empty; name one or more.")
        if not 0 <= self.unseen < math.inf:
            raise InvalidInput(f"unseen = {self.unseen:g} is no number of seconds.")
        for field in ("host", "binary", "group", "zone"):
            if getattr(self, field) == "":
                raise InvalidInput(f"{field} is empty; leave it out, or name one.")


class PrunedService(msgspec.Struct, frozen=True):
    """A service that is deleted; ``unseen`` is for how many seconds it had not reported."""

    uuid: str
    host: str
    binary: str
    group: str
    zone: str
    reason: str
    unseen: float

    @classmethod
    def of(cls, service: Service) -> Self:
        """Return what is said of a service as it was judged."""
        judged = service.judged
        unseen = round(max(0.0, judged.evidence.silence), 3)
        names = (service.uuid, service.host, service.binary, service.topic, service.zone)
        return cls(*names, judged.reason.value, unseen)


class Pruned(msgspec.Struct, frozen=True):
    """Who is deleted, or would be, by a ``dry_run``."""

    services: list[PrunedService]
    dry_run: bool


class Services(msgspec.Struct, frozen=True):
    """A page of services; ``next`` is the marker of the following page, null on the last."""

    services: list[Service]
    next: str | None


class One(msgspec.Struct, frozen=True):
    """One service and why it is up or down."""

    service: Service
    explanation: Explanation


class GroupCount(msgspec.Struct, frozen=True):
    """How many services of a group are up and down, and how many of them are disabled."""

    group: str
    up: int
    down: int
    disabled: int


class Groups(msgspec.Struct, frozen=True):
    """All groups that have a service, by name."""

    groups: list[GroupCount]


class Versions(msgspec.Struct, frozen=True):
    """The versions of the binaries asked for; forced-down and deleted services left out."""

    versions: list[BinaryVersions]


class Drivers(msgspec.Struct, frozen=True):
    """The driver that is obeyed and, while a fleet changes drivers, its shadow."""

    drivers: list[DriverState]


class Protections(msgspec.Struct, frozen=True):
    """The signals that are suspect now, by group and zone."""

    protections: list[Protection]


@cache
def _list_named(field: str) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a body whose one field is a list of anything."""
    return decoder(
        msgspec.defstruct("List", [(field, list[msgspec.Raw])], forbid_unknown_fields=True)
    )


class Elements(Generic[L]):
    """Decodes a body with a list, and refuses of it what does not fit by its name (F-2)."""

    def __init__(self, body: type[Reports | Leaves | Holds], field: str, element: type[L]) -> None:
        """Decode bodies of this type, whose field is a list of elements."""
        self._body = decoder(body)
        self._list = _list_named(field)
        self._element = decoder(element)
        self._field = field

    def whole(self, body: bytes) -> list[L] | None:
        """Return the elements of a body in which every one fits, None for any other."""
        try:
            return getattr(decode_with(self._body, body), self._field)  # type: ignore[no-any-return]
        except InvalidInput:
            return None

    def decode(self, body: bytes) -> tuple[list[L], frozenset[str]]:
        """Return the elements that fit, and the names of those that do not.

        Raises InvalidInput when none fits, or the body is something else.
        """
        try:
            return getattr(decode_with(self._body, body), self._field), frozenset()
        except InvalidInput as error:
            refusal = error
        raw = getattr(decode_with(self._list, body), self._field)
        _check_number(self._field, raw)
        fitting: list[L] = []
        names: set[str] = set()
        for place, element in enumerate(raw):
            try:
                fitting.append(decode_with(self._element, element))
            except InvalidInput:
                names.add(_name(element) or f"{self._field}[{place}]")
        if not fitting:
            raise refusal
        return fitting, frozenset(names)


def decode_with(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """Return bytes of JSON through a decoder; raises InvalidInput that names the field."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"Malformed request body: {error}.") from error


class _Named(msgspec.Struct):
    uuid: Annotated[str, msgspec.Meta(max_length=LONGEST)]


def _name(element: msgspec.Raw) -> str:
    """Return the uuid of what is refused, empty where it has none that can be repeated."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return one_form(decoder(_Named).decode(element).uuid)
    return ""


def _check_number(field: str, given: Sized) -> None:
    if len(given) > MOST_LIVES:
        raise InvalidInput(
            f"{field} holds {len(given)} entries, and a request takes {MOST_LIVES} at the most;"
            " send the others in further requests."
        )
