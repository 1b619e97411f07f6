"""What agents and control planes say to each other of one life of a service, and the answers.

Each message is checked as it is decoded, so whatever holds one may rely on its form.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from servicegroup import uuids
from servicegroup.enumeration import OpenEnum
from servicegroup.errors import InvalidInput
from servicegroup.model import Departure

_TEXT = r"^[^\x00]*$"
# The pattern is checked by ``OfLife``, which looks at each uuid anyway.
Uuid = Annotated[str, msgspec.Meta(max_length=uuids.LONGEST, extra_json_schema={"pattern": _TEXT})]
Incarnation = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Remark = Annotated[str, msgspec.Meta(pattern=_TEXT)]


class Registration(msgspec.Struct, frozen=True):
    """What a registration gives: the record's uuid and which life of it this is."""

    uuid: str
    incarnation: int


class OfLife(msgspec.Struct, frozen=True):
    """What is said of one life of a service; its uuid is in its one form, however it was spelt."""

    uuid: Uuid
    incarnation: Incarnation

    def __post_init__(self) -> None:
        """Bring the uuid to its form (F-54). Raises InvalidInput for what no uuid can hold."""
        if not uuids.is_written(self.uuid):
            if "\0" in self.uuid:
                raise InvalidInput(f"uuid {self.uuid!r} holds a character that no uuid has.")
            msgspec.structs.force_setattr(self, "uuid", uuids.one_form(self.uuid))


class Report(OfLife, frozen=True):
    """One service's report. ``failing`` withholds the stamp and says why it is not working.

    ``backend_error`` withholds nothing: it is what the driver's backend, or the way to it, says
    while it takes no heartbeats of this service (F-1).
    """

    failing: Remark | None = None
    backend_error: Remark | None = None


class Leave(OfLife, frozen=True):
    """One service's departure: stopped in order, or seen to exit, with a detail for people."""

    how: Departure = Departure.STOPPED
    detail: Remark | None = None


class Refusals(msgspec.Struct, frozen=True):
    """Which of the reported uuids were not stamped, and why; all others were.

    ``deleted``: a tombstone was found, stay away until restarted. ``superseded``: a newer
    incarnation registered, stop. ``left``: this incarnation is recorded as gone, register again.
    ``unknown``: no row at all, register again. ``invalid``: no such text or number can be stored.
    """

    deleted: frozenset[str] = frozenset()
    superseded: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    invalid: frozenset[str] = frozenset()


class Reported(Refusals, frozen=True):
    """The answer to reports: who was refused, and the fingerprint of the terms in force now.

    An agent that joined under other terms asks for the new ones, without a new incarnation.
    """

    terms: str = ""


class Drain(OpenEnum):
    """Why a control plane asks for the next session to be opened elsewhere."""

    STOPPING = "stopping"
    DATABASE = "database"


class Hold(OfLife, frozen=True, omit_defaults=True):
    """One life that a session is to speak for; ``number`` counts the sessions of that life.

    The one with the greatest number is the one that counts, whichever is written first. A life
    that ``answers`` questions is asked them in its session, and is deaf while it does not.
    """

    number: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    answers: bool = False

    @property
    def order(self) -> tuple[int, int]:
        """What is greater for the later of two sessions of a service."""
        return (self.incarnation, self.number)


class Held(Reported, frozen=True):
    """The answer to holds: which were refused, as for reports, or are ``outdated``.

    Those have the number of the session that counts instead: hold again with a greater one.
    """

    outdated: dict[str, int] = {}
