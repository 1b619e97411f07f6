"""A history: what was done to a fleet and what was seen of it, written down to be checked later.

A file of JSON lines, the first of them ``Settings``; the order of the others is free. Several
processes append to one file, each line in one write. Times are seconds of the machine's monotonic
clock, which all its processes share, so they can be compared. Every record that takes time has
when it began and when it was over, and what it tells of is true of some moment in between.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from servicegroup.events import Event
from servicegroup.model import Evidence, Limits, Reason, Service

Key = tuple[str, str]
"""A service by its host and binary, whichever record and incarnation it has."""


LOG = "events"
"""The interface whose states are those that the events told last."""


class Settings(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What promises are measured by. Seconds.

    ``detection`` is what ``GET /v1/drivers`` tells as ``detection_seconds``, None without a signal
    beside the record. ``kept`` is for how long at the least a member is present after a heartbeat
    that was acknowledged: the time to live, of ZooKeeper two thirds of the session timeout, and
    ``linger`` for how long after its process was killed, where that is shorter.
    ``slack`` is by how much this machine may be late in all that is not waited for.
    """

    limits: Limits
    detection: float | None = None
    kept: float | None = None
    linger: float | None = None
    minimum: int = 3
    slack: float = 1.0
    seed: int = 0


class Joined(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A registration that was answered: a new incarnation of a service."""

    host: str
    binary: str
    group: str
    zone: str
    uuid: str
    incarnation: int
    asked: float
    answered: float


class Proof(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """One attempt of a process to give a signal, written when it is over.

    ``ended`` is when it was acknowledged, refused or given up. Only what was ``acknowledged`` is
    known to have counted; what was given up may count at any moment since ``sent``. ``refused`` is
    the list of the answer that the service was in: deleted, superseded, left or unknown.
    """

    host: str
    binary: str
    uuid: str
    incarnation: int
    signal: Literal["report", "heartbeat"]
    sent: float
    ended: float
    acknowledged: bool
    refused: str = ""


class Ended(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A process that gives no signal after ``at``, however it ended.

    ``left`` and ``exited`` are departures that were answered, asked for at ``asked`` and committed
    by ``at``. Whoever was ``killed`` may have had an attempt under way of which there is no record,
    and a departure since ``asked`` that was never answered.
    """

    host: str
    binary: str
    uuid: str
    incarnation: int
    how: Literal["killed", "left", "exited"]
    at: float
    asked: float | None = None


class Evicted(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A member that others took out of its backend while it lived, as by ending its session."""

    host: str
    binary: str
    incarnation: int
    begun: float
    ended: float


class Act(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """An operator's edit through any interface; one not ``done`` may have happened nevertheless."""

    what: Literal["enable", "disable", "force_down", "unforce", "delete"]
    host: str
    binary: str
    uuid: str
    asked: float
    answered: float
    done: bool


class Fault(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Something that was done to the world, from its first to its last moment.

    ``kind`` and ``target`` are for people. ``touches`` says which paths were not what they should
    be: ``record`` (control planes, the database, the ways to them), ``backend`` (the driver's
    servers, the ways to them), ``clock`` (the database's). ``holds``: what was sent meanwhile may
    arrive when it ends, as with a frozen server. What happens to the processes of services is no
    fault: their proofs tell.
    """

    kind: str
    target: str
    begun: float
    ended: float
    touches: frozenset[Literal["record", "backend", "clock"]]
    holds: bool = False


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One service as an interface shows it; None is what that interface does not tell."""

    host: str
    binary: str
    state: str
    uuid: str | None = None
    group: str | None = None
    zone: str | None = None
    incarnation: int | None = None
    status: str | None = None
    forced_down: bool | None = None
    reason: Reason | None = None
    evidence: Evidence | None = None
    stamp: str | None = None
    reports: int | None = None

    @classmethod
    def of(cls, service: Service) -> Shown:
        """Return a service as the layer and ``/v1`` tell of it."""
        verdict = service.judged
        return cls(
            host=service.host,
            binary=service.binary,
            state=verdict.state,
            uuid=service.uuid,
            group=service.topic,
            zone=service.zone,
            incarnation=service.incarnation,
            status=service.status,
            forced_down=service.forced_down,
            reason=verdict.reason,
            evidence=verdict.evidence,
            stamp=str(service.last_seen_up) if service.last_seen_up else None,
            reports=service.report_count,
        )

    @property
    def key(self) -> Key:
        """Whose it is."""
        return self.host, self.binary


class Seen(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """All services, as an interface of one control plane (``plane``, its URL) told them.

    ``moment`` names a quiet one: all that was seen in it has to agree. Empty: no such claim. What
    the ``interface`` LOG tells is what its follower concludes from events.
    """

    interface: str
    plane: str
    asked: float
    answered: float
    services: list[Shown]
    moment: str = ""


class Counted(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """How many services of each group are in each state, as ``/metrics`` tells."""

    interface: str
    plane: str
    asked: float
    answered: float
    counts: dict[str, dict[str, int]]
    moment: str = ""


class EventSeen(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """An event as a ``follower`` was told it; gaps too.

    It happened after ``after``, when an event with a smaller id was the newest, and by ``by``.
    """

    follower: str
    after: float
    by: float
    event: Event


Record = Settings | Joined | Proof | Ended | Evicted | Act | Fault | Seen | Counted | EventSeen
R = TypeVar("R")

_DECODER = msgspec.json.Decoder(Record)


class History:
    """Records, to be asked for by their kind."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)
        found = self.of(Settings)
        assert len(found) == 1, f"a history has its settings once, not {len(found)} times"
        self.settings = found[0]

    def of(self, kind: type[R]) -> list[R]:
        """Return the records of a kind."""
        return [record for record in self.records if isinstance(record, kind)]

    @classmethod
    def read(cls, *files: Path) -> History:
        """Read a history back from one file or several."""
        return cls(record for file in files for record in cls.records_of(file))

    @staticmethod
    def records_of(file: Path) -> list[Record]:
        """Return the records of one file; a last line that was cut by a crash is left out."""
        lines = file.read_bytes().splitlines(keepends=True)
        return [_DECODER.decode(line) for line in lines if line.endswith(b"\n")]


class Recorder:
    """Appends to a history's file; processes and threads may share it."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, record: Record) -> None:
        """Write a record down, in one piece."""
        line = msgspec.json.encode(record) + b"\n"
        assert os.write(self._file, line) == len(line)

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)
