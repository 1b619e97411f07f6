"""The APIs that list services with a state, one row each, and what a row of their answers means."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec

from servicegroup.errors import InvalidInput
from servicegroup.mirrors import Mirrored
from servicegroup.names import NAME_LENGTH

Name = tuple[str, str]
"""A service by host and binary."""


class Seen(msgspec.Struct, gc=False):
    """A service as one answer has it. ``up`` is None where its API cannot tell; see ``facts``.

    ``beat`` is the last heartbeat as the API writes it: whoever compares two needs no more.
    """

    host: str
    binary: str
    zone: str = ""
    disabled: bool = False
    reason: str | None = None
    forced_down: bool = False
    up: bool | None = None
    beat: str | None = None

    @property
    def name(self) -> Name:
        """Its host and binary."""
        return (self.host, self.binary)

    @property
    def facts(self) -> tuple[object, ...]:
        """What the register keeps of it beside its reports."""
        return (self.zone, self.disabled, self.reason, self.forced_down, self.up)

    def mirrored(self, now: datetime) -> Mirrored:
        """Return what is said of it; ``now`` is the time by the clock that stamps heartbeats.

        Raises InvalidInput for what cannot be a name.
        """
        beat = moment(self.beat)
        age = None if beat is None else max(0.0, (now - beat).total_seconds())
        return Mirrored(
            host=self.host,
            binary=self.binary,
            zone=self.zone,
            disabled=self.disabled,
            disabled_reason=_line(self.reason),
            forced_down=self.forced_down,
            down=self.up is False,
            beat_at=beat,
            age=age,
        )


def _line(text: str | None) -> str | None:
    """Return what people wrote as one line that the register has room for."""
    if not text:
        return None
    return "".join(c if c.isprintable() else " " for c in text)[:NAME_LENGTH]


def moment(text: str | None) -> datetime | None:
    """Return a stamp of an API as naive UTC; None for what is no stamp."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


class _Row(msgspec.Struct, gc=False):
    """The fields of any of the APIs that mean something here."""

    id: int | str | None = None
    host: str | None = None
    hostname: str | None = None
    binary: str | None = None
    service_name: str | None = None
    zone: str | None = None
    availability_zone: str | None = None
    status: str | None = None
    state: str | None = None
    alive: bool | None = None
    admin_state_up: bool = True
    forced_down: bool = False
    disabled_reason: str | None = None
    updated_at: str | None = None
    heartbeat_timestamp: str | None = None
    heartbeated_at: str | None = None


class Link(msgspec.Struct):
    """A link of an answer to another page."""

    href: str
    rel: str = "next"


class _Links(msgspec.Struct):
    next: str | None = None


class Body(msgspec.Struct):
    """An answer: the rows, in whichever field this API has them, and the way to the next page."""

    services: list[_Row] | None = None
    agents: list[_Row] | None = None
    service_statuses: list[_Row] | None = None
    agents_links: list[Link] = []
    links: _Links | None = None

    @property
    def next(self) -> str | None:
        """Where the next page is, None after the last one."""
        for link in self.agents_links:
            if link.rel == "next":
                return link.href
        return self.links.next if self.links else None


def _nova(row: _Row) -> Seen:
    return Seen(
        row.host or "",
        row.binary or "",
        row.zone or "",
        row.status == "disabled",
        row.disabled_reason,
        row.forced_down,
        _up(row.state),
        row.updated_at,
    )


def _neutron(row: _Row) -> Seen:
    return Seen(
        row.host or "",
        row.binary or "",
        row.availability_zone or "",
        not row.admin_state_up,
        None,
        False,
        row.alive,
        row.heartbeat_timestamp,
    )


def _heat(row: _Row) -> Seen:
    return Seen(row.host or "", row.binary or "", up=_up(row.status), beat=row.updated_at)


def _designate(row: _Row) -> Seen:
    binary = f"designate-{row.service_name}" if row.service_name else ""
    # WARNING is a service that works and has something to say.
    up = None if row.status is None else row.status != "DOWN"
    return Seen(row.hostname or "", binary, up=up, beat=row.heartbeated_at)


def _up(word: str | None) -> bool | None:
    return {"up": True, "down": False}.get(word or "")


class Api(msgspec.Struct, frozen=True):
    """One API: the name operators know it by, its service type and version, and how it lists.

    A catalog names an endpoint with its version or without. The first of the ``microversions`` that
    the API knows is used. ``any_up`` is for those that list a process each: a service is up while
    any of its processes is.
    """

    name: str
    type: str
    version: str
    path: str
    field: str
    seen: Callable[[_Row], Seen]
    microversions: tuple[str | None, ...] = (None,)
    any_up: bool = False


APIS = {
    api.name: api
    for api in (
        # From 2.69 on Nova says of the services of a cell that is away that it cannot tell.
        Api("nova", "compute", "v2.1", "/os-services", "services", _nova, ("2.69", "2.11", None)),
        Api("cinder", "block-storage", "v3", "/os-services", "services", _nova),
        Api("neutron", "network", "v2.0", "/agents", "agents", _neutron),
        Api("manila", "shared-file-system", "v2", "/services", "services", _nova, ("2.7",)),
        Api("heat", "orchestration", "v1", "/services", "services", _heat, any_up=True),
        Api("designate", "dns", "v2", "/service_statuses", "service_statuses", _designate),
    )
}
"""Every API that is mirrored where a cloud has it, by name."""


def merged(api: Api, rows: Iterable[_Row]) -> tuple[list[Seen], list[str]]:
    """Return the services of an answer, each once, and a sentence for each row that names none.

    Of several rows with one host and binary (two cells may have those) the worse one counts.
    """
    found: dict[Name, Seen] = {}
    nameless: list[str] = []
    for row in rows:
        seen = api.seen(row)
        if not seen.host or not seen.binary:
            nameless.append(_nameless(api, row, seen))
            continue
        former = found.get(seen.name)
        if former is None or former.up is not api.any_up:
            found[seen.name] = seen
    return list(found.values()), nameless


def _nameless(api: Api, row: _Row, seen: Seen) -> str:
    lacks = "host" if not seen.host else "binary"
    has = seen.binary or seen.host or "a service"
    return (
        f"{api.name} lists {has} (id {row.id}) without a {lacks}, so it is left out here; delete or"
        " repair its record there."
    )


def named(names: Iterable[str]) -> list[Api]:
    """Return APIs by name. Raises InvalidInput."""
    found = []
    for name in names:
        if name not in APIS:
            raise InvalidInput(f"{name!r} is none of the APIs {', '.join(APIS)}.")
        found.append(APIS[name])
    return found
