"""Lists of which a client has the newest already: If-None-Match, and 304 (decision 0016)."""

from __future__ import annotations

from servicegroup.api.call import Call


def revision_of(call: Call, form: str = "") -> tuple[list[tuple[str, str]], bool]:
    """Return the headers that name the register's revision, and whether the client has that one.

    ``form`` tells apart what one URL shows in several. No revision is named while no observer is
    at work, and no cache may guess for how long an answer holds. Ask before a list is read, which
    may then be newer than what names it, never older. Raises StoreUnavailable.
    """
    revision = call.group.revision()
    headers = [("Cache-Control", "no-cache")]
    if revision is None:
        return headers, False
    etag = f'"{revision}{form}"'
    return [*headers, ("ETag", f"W/{etag}")], has_etag(call.headers.get("if-none-match", ""), etag)


def has_etag(given: str, etag: str) -> bool:
    """Tell whether If-None-Match names the ETag, weakly: proxies that compress make it weak."""
    return given == "*" or etag in (tag.strip().removeprefix("W/") for tag in given.split(","))
