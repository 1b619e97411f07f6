"""Which dialect of Nova's API a request speaks, from its headers, and which ones there are.

A microversion is a pair of integers, so two of them compare as they should: 2.9 < 2.53.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from servicegroup.api.call import Answer
from servicegroup.errors import InvalidInput, ServiceGroupError

Version = tuple[int, int]

MIN: Version = (2, 1)
MAX: Version = (2, 104)

CHANGES: dict[Version, str] = {
    (2, 1): "Integer ids; PUT enable, disable and disable-log-reason by host and binary.",
    (2, 11): "forced_down in the list; PUT force-down.",
    (2, 43): "os-hosts is gone.",
    (2, 53): "UUIDs for ids; PUT by UUID gives the full record, the four actions are gone.",
    (2, 69): "Stubs for services of an unreachable cell; there are no cells here, hence no stubs.",
    (2, 75): "Unknown query parameters of os-services are refused.",
    (2, 102): "Unknown query parameters of os-availability-zone are refused.",
    (2, 104): "The newest microversion of Nova that is spoken here.",
}
"""Every microversion that matters to what is served here; those between change other APIs."""

HEADER = "OpenStack-API-Version"
OLD_HEADER = "X-OpenStack-Nova-API-Version"
SERVICE = "compute"

_FORM = re.compile(r"([1-9][0-9]*)\.(0|[1-9][0-9]*)")


class UnsupportedVersion(ServiceGroupError):
    """A well-formed microversion outside the range (HTTP 406); the answer echoes ``version``."""

    def __init__(self, version: str) -> None:
        """Name the version and the range."""
        super().__init__(
            f"Version {version} is not supported by the API."
            f" Minimum is {text_of(MIN)} and maximum is {text_of(MAX)}."
        )
        self.version = version


def text_of(version: Version) -> str:
    """Return a microversion as clients write it."""
    return f"{version[0]}.{version[1]}"


def negotiate(headers: Mapping[str, str]) -> Version:
    """Return the microversion asked for, or the oldest when none is.

    ``headers`` have lower-case names; the lines of a repeated header are joined by commas. Raises
    InvalidInput for what is not a microversion and UnsupportedVersion for one out of range.
    """
    asked = _asked(headers)
    if asked is None:
        return MIN
    if asked == "latest":
        return MAX
    form = _FORM.fullmatch(asked)
    if form is None:
        raise InvalidInput(
            f"API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum."
        )
    # Nine digits are far beyond the range already, and int() refuses thousands of them.
    version = (int(form[1][:9]), int(form[2][:9]))
    if not MIN <= version <= MAX:
        raise UnsupportedVersion(asked)
    return version


def _asked(headers: Mapping[str, str]) -> str | None:
    """Return the text after ``compute``, else the old header's; of several the last one wins."""
    for part in reversed(headers.get(HEADER.lower(), "").split(",")):
        words = part.split(None, 1)
        if len(words) == 2 and words[0].lower() == SERVICE:
            return words[1].strip()
    old = headers.get(OLD_HEADER.lower())
    return None if old is None else old.split(",")[-1].strip()


def stamped(answer: Answer, version: str) -> Answer:
    """Return the answer with the headers that say which microversion it is in."""
    said = (
        (HEADER, f"{SERVICE} {version}"),
        (OLD_HEADER, version),
        ("Vary", HEADER),
        ("Vary", OLD_HEADER),
    )
    return msgspec.structs.replace(answer, headers=(*answer.headers, *said))
