"""Reports and departures, many in one transaction: the only writers of the stamp of liveness.

One UPDATE stamps a whole batch. It finds its rows by id, in order, so that batches of several
writers never wait for each other in a circle (SQL-11), and it matches uuid and incarnation, so
that neither a superseded process nor an id that a restored backup gave to another service can
refresh a record. What did not match is looked up in the same transaction, and what a life reported
more than once is counted in it (F-58). What failing services say costs some statements for all of
them, so that none of them holds up the batch, which is everybody's (F-60).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    String,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    null,
    select,
    update,
)

from servicegroup.events import Event, EventKind
from servicegroup.messages import Leave, OfLife, Refusals, Report
from servicegroup.model import Departure
from servicegroup.remembered import Remembered
from servicegroup.store.clock import utcnow
from servicegroup.store.database import write
from servicegroup.store.details import Kept, backend_errors, keep_texts
from servicegroup.store.events import about, append
from servicegroup.store.isolation import isolating
from servicegroup.store.marks import mark, moment_of_report, until_report
from servicegroup.store.register_clock import Marker
from servicegroup.store.tables import services
from servicegroup.uuids import is_written

Life = tuple[str, int]
"""A service's uuid and which incarnation of it."""

REMEMBERED_IDS = 200_000
"""Services whose id is remembered."""

_LOGGED = 1_000
"""Services of which it is remembered that the log has what of theirs cannot be stored."""

NAMED_AT_MOST = 5_000
"""Services that one question names; SQLite takes 32,766 values in a statement."""

_MOST_COUNTED = 2**31 - 1
"""What the column of the count holds; one beyond it would fail everybody's batch (F-59)."""

_life = services.c.uuid + ":" + cast(services.c.incarnation, String)
_PRESENT = and_(services.c.deleted == 0, services.c.left_at.is_(None))


class ReportWriter:
    """Commits batches of reports; remembers which id a uuid has, so most need one statement."""

    def __init__(self, engine: Engine) -> None:
        """Write to the engine's database."""
        self._engine = engine
        self._ids: Remembered[str, int] = Remembered(REMEMBERED_IDS)
        self._logged: Remembered[str, str] = Remembered(_LOGGED)
        self._marker = Marker()

    def commit(
        self, reports: Sequence[Report], *, marking: bool, deadline: float = math.inf
    ) -> Refusals:
        """Stamp the services that reported and return those that were refused.

        What cannot be stored is ``invalid``, and all others are stamped (F-2). ``marking`` also
        commits a mark: somebody listens now. Raises StoreUnavailable, and Unavailable after the
        ``deadline`` of ``write``; then nothing of the batch is known to be stored.
        """
        marks = iter((marking, marking))  # with all of it, or else with what is plain

        def commit(some: Sequence[Report]) -> Refusals:
            return self._stamp(some, marking=next(marks, False), deadline=deadline)

        return isolating(reports, lambda r: _is_plain(r, r.failing), commit, self._logged)

    def _stamp(self, reports: Sequence[Report], *, marking: bool, deadline: float) -> Refusals:
        working = Counter((r.uuid, r.incarnation) for r in reports if not r.failing)
        failing = {
            (report.uuid, report.incarnation): str(report.failing)[:255]
            for report in reports
            if report.failing
        }
        refused = backend_errors(reports)

        def work(connection: Connection) -> Refusals:
            ids = self._ids_of(connection, {uuid for uuid, _ in (*working, *failing)})
            found = _lock(connection, ids, {*working, *failing}) if failing or refused else {}
            told = Counter({life: working[life] for life in refused})
            unmatched = _stamp(connection, ids, working - told) | (failing.keys() - found.keys())
            unmatched |= _stamp(connection, ids, told, telling=1)
            # A stamp has just removed the detail of those that it is for.
            said = {
                kept.id: failing[life]
                for life, kept in found.items()
                if life in failing and (life in working or kept.detail != failing[life])
            }
            keep_texts(connection, "detail", said)
            heard = {found[life]: text for life, text in refused.items() if life in found}
            changed = {one.id: text for one, text in heard.items() if one.backend_error != text}
            keep_texts(connection, "backend_error", changed)
            if marking:
                mark(connection, self._marker)
            return self._refusals(connection, unmatched)

        refusals = write(self._engine, work, deadline)
        self._marker.committed()
        return refusals

    def leave(self, leaves: Iterable[Leave]) -> Refusals:
        """Record departures and return those whose incarnation is not the record's.

        A departure that is already recorded stays as it is. They are recorded in the order of
        ids, as reports are, so that neither waits for the other in a circle (SQL-11). What cannot
        be stored is ``invalid``, and all others are recorded (F-2). Raises StoreUnavailable.
        """
        return isolating(
            [*leaves], lambda leave: _is_plain(leave, leave.detail), self._depart, self._logged
        )

    def _depart(self, leaves: Sequence[Leave]) -> Refusals:
        wanted = {(leave.uuid, leave.incarnation): leave for leave in leaves}

        def work(connection: Connection) -> Refusals:
            ids = dict(looked_up(connection, [uuid for uuid, _ in wanted], services.c.id))
            unmatched = {life for life in wanted if life[0] not in ids}
            happened: list[Event] = []
            for life in sorted(wanted.keys() - unmatched, key=lambda life: (ids[life[0]], life)):
                (uuid, incarnation), leave = life, wanted[life]
                gone: dict[str, Any] = {
                    "left_at": utcnow(),
                    "updated_at": utcnow(),
                    "departure": leave.how.value,
                }
                gone["detail"] = leave.detail and leave.detail[:255]
                if _change_one(connection, uuid, incarnation, gone):
                    happened.append(_departed(connection, leave))
                else:
                    unmatched.add((uuid, incarnation))
            append(connection, happened)
            refusals = self._refusals(connection, unmatched)
            return msgspec.structs.replace(refusals, left=frozenset())

        return write(self._engine, work)

    def _ids_of(self, connection: Connection, uuids: set[str]) -> dict[str, int]:
        """Return the ids of these services, as far as there are any.

        What a batch needs is its own: what it adds to the remembered may replace some of it there.
        """
        ids = self._ids.found(uuids)
        unknown = [uuid for uuid in uuids if uuid not in ids]
        if unknown:
            learnt: dict[str, int] = dict(looked_up(connection, unknown, services.c.id))
            self._ids.add(learnt)
            ids |= learnt
        return ids

    def _refusals(self, connection: Connection, lives: set[Life]) -> Refusals:
        """Look up why lives did not match, and forget what was remembered wrongly of them."""
        if not lives:
            return Refusals()
        for uuid, _ in lives:
            self._ids.forget(uuid)
        columns = (services.c.incarnation, services.c.deleted, services.c.left_at)
        found = looked_up(connection, list({uuid for uuid, _ in lives}), *columns)
        return classified(lives, {uuid: rest for uuid, *rest in found})


def _is_plain(said: OfLife, text: str | None) -> bool:
    """Return whether no database can have a difficulty with it: a uuid, a number and no text."""
    return not text and bool(is_written(said.uuid))


def looked_up(
    connection: Connection, uuids: Sequence[str], *columns: ColumnElement[Any]
) -> Iterator[Any]:
    """Yield uuid and columns of those that have a record; a statement names so many at the most."""
    for start in range(0, len(uuids), NAMED_AT_MOST):
        some = uuids[start : start + NAMED_AT_MOST]
        query = select(services.c.uuid, *columns).where(services.c.uuid.in_(some))
        yield from map(tuple, connection.execute(query))


def _stamp(
    connection: Connection, ids: Mapping[str, int], working: Counter[Life], telling: int = 0
) -> set[Life]:
    """Stamp the lives that match and return candidates for refusal; empty: all matched.

    Each is counted as often as it reported. What is beyond the first report of a life is added
    in powers of two, so that it takes a few statements whatever a batch holds; the rows are
    locked by then. With ``telling`` (1, not 0) what is known of their backend's errors stays.
    """
    if not working:
        return set()
    lives = set(working)
    found = _count(connection, ids, lives, 1, telling)
    if len(lives) < working.total():
        more = {life: times - 1 for life, times in working.items() if times > 1}
        for power in range(max(more.values()).bit_length()):
            counted = {life for life, times in more.items() if times >> power & 1}
            _count(connection, ids, counted, 1 << power, telling)
    return set() if found == len(lives) else lives


def _count(
    connection: Connection, ids: Mapping[str, int], lives: set[Life], reports: int, telling: int
) -> int:
    """Stamp the lives that match for so many reports each, and return how many did."""
    named = _named(connection, ids, lives)
    statement = _STAMPING_JSON if "batch" in named else _STAMPING_LISTS
    values = {**named, "reports": reports, "telling": telling}
    return connection.execute(statement, values).rowcount


def _lock(connection: Connection, ids: Mapping[str, int], lives: set[Life]) -> dict[Life, Kept]:
    """Lock the lives that match, in the order of their ids; return what is kept of each.

    Changing them in several statements then meets no other batch in a circle (SQL-11).
    """
    named = _named(connection, ids, lives)
    rows = connection.execute(_LOCKING_JSON if "batch" in named else _LOCKING_LISTS, named)
    return {(uuid, incarnation): Kept(*kept) for uuid, incarnation, *kept in rows}


def _named(connection: Connection, ids: Mapping[str, int], lives: set[Life]) -> dict[str, Any]:
    """Return the values that name those of the lives whose ids are known in a statement."""
    known = [(ids[uuid], uuid, n) for uuid, n in lives if uuid in ids]
    if connection.dialect.name == "postgresql":
        rows = [{"id": id_, "uuid": uuid, "incarnation": n} for id_, uuid, n in known]
        return {"batch": msgspec.json.encode(rows).decode()}
    return {
        "ids": sorted(id_ for id_, _, _ in known),
        "lives": [f"{uuid}:{n}" for _, uuid, n in known],
    }


def classified(lives: set[Life], rows: Mapping[str, Sequence[Any]]) -> Refusals:
    """Return why lives are refused, by each record's incarnation, deleted and left_at."""
    kinds: dict[str, set[str]] = {kind: set() for kind in Refusals.__struct_fields__}
    for uuid, incarnation in lives:
        kind = _refused_as(incarnation, rows.get(uuid))
        if kind is not None:
            kinds[kind].add(uuid)
    return Refusals(**{kind: frozenset(uuids) for kind, uuids in kinds.items()})


def _refused_as(incarnation: int, row: Sequence[Any] | None) -> str | None:
    """Return which refusal follows from the record's row, None for none."""
    if row is None:
        return "unknown"
    current, tombstone, left_at = row
    if tombstone:
        return "deleted"
    if incarnation > current:  # of a life that a restored backup forgot
        return "unknown"
    if incarnation < current:
        return "superseded"
    return None if left_at is None else "left"


def _departed(connection: Connection, leave: Leave) -> Event:
    kind = EventKind.EXIT if leave.how is Departure.EXITED else EventKind.LEAVE
    return about(connection, leave.uuid, kind, detail=leave.detail)


def _change_one(
    connection: Connection, uuid: str, incarnation: int, values: Mapping[str, Any]
) -> bool:
    own = and_(services.c.uuid == uuid, services.c.incarnation == incarnation)
    return bool(connection.execute(update(services).where(own, _PRESENT).values(values)).rowcount)


def _counted(more: ColumnElement[int]) -> ColumnElement[int]:
    """Return the count with so many reports more; it stays at the most that its column holds."""
    count = services.c.report_count
    return case((count > _MOST_COUNTED - more, _MOST_COUNTED), else_=count + more)


def _statement(*matching: ColumnElement[bool]) -> Any:
    return (
        update(services)
        .where(*matching)
        .values(
            last_seen_up=moment_of_report(),
            observed_since=until_report(services.c.observed_since),
            updated_at=utcnow(),
            report_count=_counted(bindparam("reports", type_=Integer)),
            detail=None,
            backend_error=case(
                (bindparam("telling", type_=Integer) == 1, services.c.backend_error), else_=null()
            ),
        )
    )


# PostgreSQL takes a batch as one JSON text: one statement, prepared once, for every size. It
# would lock rows in whatever order its plan meets them, so they are locked by id beforehand.
_batch = (
    func.json_to_recordset(cast(bindparam("batch", type_=String), JSON))
    .table_valued(
        column("id", Integer),
        column("uuid", String),
        column("incarnation", Integer),
        name="batch",
    )
    .render_derived(with_types=True)
)
_locked = (
    select(services.c.id)
    .join_from(
        services,
        _batch,
        and_(*(services.c[name] == _batch.c[name] for name in ("id", "uuid", "incarnation"))),
    )
    .where(_PRESENT)
    .order_by(services.c.id)
    .with_for_update(key_share=True, of=services)
)
_STAMPING_JSON = _statement(services.c.id.in_(_locked))
# MariaDB walks the primary key in order; SQLite has one writer.
_listed = and_(
    services.c.id.in_(bindparam("ids", expanding=True, type_=Integer)),
    _life.in_(bindparam("lives", expanding=True, type_=String)),
    _PRESENT,
)
_STAMPING_LISTS = _statement(_listed)

_record = (services.c.uuid, services.c.incarnation, *(services.c[n] for n in Kept._fields))
_LOCKING_JSON = _locked.with_only_columns(*_record, maintain_column_froms=True)
_LOCKING_LISTS = select(*_record).where(_listed).order_by(services.c.id).with_for_update()
