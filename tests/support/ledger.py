"""What clients were promised, and whether a register kept it: acknowledgements against tables.

A client notes of each record of its own what it sent and what was acknowledged. Acknowledged is
there. What was only sent may be there or not, but never twice and never half: whatever the record
says, the log of events says too. The database's clock is this machine's, so a stamp can be
compared with the moment of sending.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Engine, select

from servicegroup.events import EventKind
from servicegroup.store.database import reading
from servicegroup.store.tables import event_log, events, services

BEGINNINGS = (EventKind.JOIN, EventKind.RESTART)


def moment() -> datetime:
    """Return now as stamps are written."""
    return datetime.now(UTC).replace(tzinfo=None)


class Account(msgspec.Struct):
    """What one client, who alone acts for a record, knows of it."""

    uuid: str
    lives: set[int]
    reports_sent: int = 0
    reports_acknowledged: int = 0
    sent_at: datetime | None = None
    leaves: set[int] = msgspec.field(default_factory=set)
    edits_sent: list[str] = msgspec.field(default_factory=list)
    edits: list[str] = msgspec.field(default_factory=list)
    deleted: bool = False

    @property
    def incarnation(self) -> int:
        """The newest life that was acknowledged."""
        return max(self.lives)

    def acknowledged(self) -> int:
        """Return how many acknowledgements there are."""
        others = len(self.lives) + len(self.leaves) + len(self.edits) + self.deleted
        return self.reports_acknowledged + others


class Register:
    """A register's tables, read once: records by uuid, events in order, the newest id."""

    def __init__(self, engine: Engine) -> None:
        with reading(engine) as connection:
            self.last = connection.execute(select(event_log.c.last)).scalar_one()
            rows = connection.execute(select(services)).mappings()
            self.records = {row["uuid"]: dict(row) for row in rows}
            log = connection.execute(select(events).order_by(events.c.id)).mappings()
            self.events = [dict(row) for row in log]
        self._of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in self.events:
            self._of[event["uuid"]].append(event)

    def told(self, uuid: str, *kinds: EventKind) -> list[dict[str, Any]]:
        """Return the events of a record of these kinds, in order."""
        return [event for event in self._of[uuid] if event["kind"] in kinds]


def broken(
    register: Register, accounts: Iterable[Account], followed: Sequence[int]
) -> Iterator[str]:
    """Give a sentence for every promise that was not kept; ``followed`` ids were streamed."""
    ids = list(range(1, register.last + 1))
    if [event["id"] for event in register.events] != ids:
        yield f"the log of events has not exactly the ids 1 to {register.last}"
    if list(followed) != ids[: len(followed)]:
        yield f"a follower did not get every id once, in order, up to {followed[-1]}"
    for uuid, record in register.records.items():
        for what in _halves(register, record):
            yield f"{record['host']} {uuid}: {what}"
    for account in accounts:
        if account.uuid not in register.records:
            yield f"{account.uuid}: an acknowledged registration is lost"
            continue
        record = register.records[account.uuid]
        for what in (*_reports(account, record), *_changes(account, record, register)):
            yield f"{record['host']} {account.uuid}: {what}"


def _halves(register: Register, record: Mapping[str, Any]) -> Iterator[str]:
    """Compare a record with its events, whoever was or was not told of what."""
    uuid, life = record["uuid"], record["incarnation"]
    lives = [event["incarnation"] for event in register.told(uuid, *BEGINNINGS)]
    if not lives or lives != list(range(lives[0], life + 1)):
        yield f"its lives began {lives} and the record is at {life}"
    if [e["kind"] for e in register.told(uuid, *BEGINNINGS)][1:].count(EventKind.JOIN):
        yield "it joined more than once"
    left = [event["incarnation"] for event in register.told(uuid, EventKind.LEAVE)]
    if len(set(left)) < len(left):
        yield f"one life left more than once: {left}"
    if (life in left) != (record["left_at"] is not None):
        yield f"it left at {record['left_at']} and the log says that {left} left"
    deletes = len(register.told(uuid, EventKind.DELETE))
    if deletes != (record["deleted"] != 0):
        yield f"deleted is {record['deleted']} and the log has {deletes} deletes"
    if deletes and record["last_seen_up"] and record["last_seen_up"] > record["deleted_at"]:
        yield "it was stamped after its delete"
    reasons = [event["detail"] for event in register.told(uuid, EventKind.DISABLE)]
    if record["disabled_reason"] != (reasons[-1] if reasons else None):
        yield f"it is disabled for {record['disabled_reason']} and the log says {reasons[-1:]}"


def _reports(account: Account, record: Mapping[str, Any]) -> Iterator[str]:
    sent, acknowledged = account.reports_sent, account.reports_acknowledged
    if not acknowledged <= record["report_count"] <= sent:
        yield f"{record['report_count']} reports, {acknowledged} acknowledged, {sent} sent"
    seen = record["last_seen_up"]
    if account.sent_at is not None and (seen is None or seen < account.sent_at):
        yield f"last seen {seen}, before the acknowledged report of {account.sent_at} was sent"


def _changes(account: Account, record: Mapping[str, Any], register: Register) -> Iterator[str]:
    uuid = account.uuid
    lives = {event["incarnation"] for event in register.told(uuid, *BEGINNINGS)}
    if not account.lives <= lives:
        yield f"the lives {account.lives - lives} were acknowledged and have no event"
    left = {event["incarnation"] for event in register.told(uuid, EventKind.LEAVE)}
    if not account.leaves <= left:
        yield f"the leaves of {account.leaves - left} were acknowledged and have no event"
    if account.deleted and not record["deleted"]:
        yield "its delete was acknowledged, and it lives"
    edits = Counter(event["detail"] for event in register.told(uuid, EventKind.DISABLE))
    if not set(account.edits) <= edits.keys() <= set(account.edits_sent):
        yield f"edits {sorted(edits)}, acknowledged {account.edits}, sent {account.edits_sent}"
    if any(count > 1 for count in edits.values()):
        yield f"an edit was told more than once: {edits}"
