"""Lists of which a client has the newest already: If-None-Match, and 304 (decision 0016)."""

from __future__ import annotations

from typing import NamedTuple

from servicegroup.agreement import Agreement
from servicegroup.api.call import Call

Headers = list[tuple[str, str]]

# No cache may guess for how long an answer holds.
_ALWAYS: Headers = [("Cache-Control", "no-cache")]


class Revision(NamedTuple):
    """What a list is named by, None for nothing, and whether the client has it already."""

    etag: str | None
    is_known: bool = False

    def headers(self, agreement: Agreement | None = None) -> Headers:
        """Return the headers of an answer: a list names the revision if it is as recorded."""
        if self.etag is None or (agreement is not None and not agreement.holds):
            return _ALWAYS
        return [*_ALWAYS, ("ETag", f"W/{self.etag}")]


def revision_of(call: Call, form: str = "") -> Revision:
    """Return the revision of the register, which has no name while no observer is at work.

    ``form`` tells apart what one URL shows in several. Ask before a list is read, which may then be
    newer than what names it, never older. Raises StoreUnavailable.
    """
    revision = call.group.revision()
    if revision is None:
        return Revision(None)
    etag = f'"{revision}{form}"'
    return Revision(etag, has_etag(call.headers.get("if-none-match", ""), etag))


def has_etag(given: str, etag: str) -> bool:
    """Tell whether If-None-Match names the ETag, weakly: proxies that compress make it weak."""
    return given == "*" or etag in (tag.strip().removeprefix("W/") for tag in given.split(","))
