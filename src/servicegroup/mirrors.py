"""Services that are mirrored from another control plane's API: what a mirror says of them.

The mirror says what it saw, a ``Look``, and the register keeps it so. What such a service is
belongs to the control plane whose API lists it, so nobody else edits it here (``edits.own``).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from servicegroup.messages import Uuid
from servicegroup.names import Given, Name, check_name, check_text, topic_of, zone_of
from servicegroup.uuids import one_form

MOST_SERVICES = 1_000
"""Services of one look; further ones go into further looks."""

MOST_GONE = 5_000
"""Services that one look deletes."""

Utc = Annotated[datetime, msgspec.Meta(tz=False, extra_json_schema={"format": "naive-date-time"})]
"""A time in UTC that names no zone."""


class Mirrored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One service as its own API shows it; an empty group or zone is the register's to choose.

    ``down`` is the verdict of its own control plane. ``beat_at`` is its last heartbeat by the clock
    there, naive UTC, and ``age`` how many seconds ago that was; None where the API does not say.
    """

    host: Name
    binary: Name
    group: Given = ""
    zone: Given = ""
    disabled: bool = False
    disabled_reason: Given | None = None
    forced_down: bool = False
    down: bool = False
    beat_at: Utc | None = None
    age: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None = None

    def __post_init__(self) -> None:
        """Choose what is left to choose; raises InvalidInput for what cannot be a name."""
        put = msgspec.structs.force_setattr
        put(self, "group", self.group or topic_of(self.binary))
        put(self, "zone", self.zone or zone_of(self.group))
        for field in ("host", "binary", "group", "zone"):
            check_name(field, getattr(self, field))
        if self.disabled_reason:
            check_name("disabled_reason", self.disabled_reason)

    @property
    def words(self) -> str | None:
        """What is said of it while its own control plane says that it is down."""
        if not self.down:
            return None
        last = f", last heartbeat {self.beat_at:%Y-%m-%d %H:%M:%S} there" if self.beat_at else ""
        return f"its own API says down{last}"

    def stamp(self, now: datetime) -> datetime | None:
        """Return when it reported last by the register's clock; None where that is not known."""
        return None if self.age is None else now - timedelta(seconds=self.age)


class Look(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a mirror saw of one API: which services are new or another than before, and gone.

    ``mirror`` names the API, such as ``prod/nova``, and ``endpoint`` is where it answers.
    ``answered`` ends a look at all of its services: those that did not report by then are silent.
    ``opening`` asks for those that the register has, and ``ending`` deletes all of them.
    """

    mirror: Name
    endpoint: Given = ""
    services: Annotated[list[Mirrored], msgspec.Meta(max_length=MOST_SERVICES)] = []
    gone: Annotated[list[Uuid], msgspec.Meta(max_length=MOST_GONE)] = []
    answered: bool = False
    opening: bool = False
    ending: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidInput for what cannot be a name."""
        check_name("mirror", self.mirror)
        check_name("endpoint", self.endpoint or "none")
        for uuid in self.gone:
            check_text("gone", uuid)
        msgspec.structs.force_setattr(self, "gone", [one_form(uuid) for uuid in self.gone])


class Kept(msgspec.Struct, frozen=True):
    """A mirrored service as the register has it: report for it by uuid and incarnation."""

    host: str
    binary: str
    uuid: str
    incarnation: int


class Looked(msgspec.Struct, frozen=True):
    """The answer to a look: what is kept, and a sentence for each service that is refused."""

    services: list[Kept]
    refused: list[str] = []
