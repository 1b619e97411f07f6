"""The observer's side of the layer: its lease, what a look reads, what it records or ends (S3).

Each write names the fencing token of the lease, and writes nothing once another process has the
lease; see ``store.lease``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from servicegroup.events import Event, Protection
from servicegroup.liveness import Listening
from servicegroup.mirrors import Look, Looked
from servicegroup.model import Limits, Member, Service, ServiceFilter
from servicegroup.store import findings, lease, mirrors, pruning
from servicegroup.store.database import reading
from servicegroup.store.findings import Finding
from servicegroup.store.lease import Lease, LeaseLost, holder_for
from servicegroup.store.moment import read_listening_and
from servicegroup.store.questions import Heard
from servicegroup.store.sessions import Ending, Lapsed, Opened, Opening, SessionWriter, ended_since
from servicegroup.store.snapshots import Snapshot
from servicegroup.store.store import Store
from servicegroup.store.summaries import Summary, open_sessions, summaries

__all__ = [
    "Ending",
    "Finding",
    "Heard",
    "Lapsed",
    "Lease",
    "LeaseLost",
    "Opened",
    "Opening",
    "Overview",
    "Recorder",
    "SessionWriter",
    "Snapshot",
    "Summary",
    "holder_for",
]


class Overview(NamedTuple):
    """What a look at everybody begins with: who listened when, whom to look at, what is suspect."""

    listening: Listening
    summaries: list[Summary]
    protections: list[Protection]


class Recorder:
    """What an observer asks and writes; every method raises StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        """Read and write the record in ``store``."""
        self._store = store
        self._engine = store.engine

    # -- the lease ---------------------------------------------------------------------------

    def lease(self) -> Lease | None:
        """Return the lease, or None where nobody ever observed."""
        return lease.current(self._engine)

    def take_lease(self, holder: str, seen: Lease | None) -> int:
        """Take the lease as it was seen and return its fencing token. Raises LeaseLost."""
        return lease.take(self._engine, holder, seen)

    def renew_lease(self, fencing_token: int, *, blind: bool) -> None:
        """Keep the lease. Raises LeaseLost."""
        lease.renew(self._engine, fencing_token, blind=blind)

    def release_lease(self, fencing_token: int) -> None:
        """Let the next process take the lease at once."""
        lease.release(self._engine, fencing_token)

    # -- what a look reads -------------------------------------------------------------------

    def lives(self) -> Mapping[Member, int]:
        """Return the members of all living services, each with its incarnation."""
        return self._store.lives(ServiceFilter())

    def overview(self, limits: Limits, *, changed_only: bool, with_sessions: bool) -> Overview:
        """Return it, with the summaries of all who live, or of those who may have changed."""
        with reading(self._engine) as connection:
            listening, suspect = read_listening_and(
                connection, self._store.silence, findings.ANY_PROTECTION
            )
            found = summaries(
                connection,
                listening,
                limits,
                changed_only=changed_only,
                with_sessions=with_sessions,
            )
            protections = findings.protections_of(connection) if suspect else []
            return Overview(listening, found, protections)

    def open_sessions(self, now: datetime) -> tuple[set[int], dict[tuple[str, str], set[int]]]:
        """Return the ids of who lives, and of whose session is open, by group and zone."""
        return open_sessions(self._engine, now)

    def by_ids(self, ids: Sequence[int]) -> Snapshot:
        """Return the living services of these ids."""
        return self._store.by_ids(ids)

    def by_members_or_lacking(self, members: Collection[Member], window: float) -> Snapshot:
        """Return these members' services, and those that lack their presence; see ``Store``."""
        return self._store.by_members_or_lacking(members, window)

    def protections(self) -> list[Protection]:
        """Return which signals are suspect now, and where."""
        return findings.current_protections(self._engine)

    def ended_since(self, since: datetime | None, most: int) -> tuple[datetime, list[Member]]:
        """Return now, and whose session ended since; see ``store.sessions``."""
        return ended_since(self._engine, since, most)

    # -- sessions ----------------------------------------------------------------------------

    def sessions(self, plane: str) -> SessionWriter:
        """Return what writes the sessions of a control plane of that name."""
        return SessionWriter(self._engine, plane)

    # -- what it records ---------------------------------------------------------------------

    def clamp_future_stamps(self, fencing_token: int) -> None:
        """Date back what is stamped later than now. Raises LeaseLost."""
        findings.clamp_future_stamps(self._engine, fencing_token)

    def record(self, fencing_token: int, found: Sequence[Finding]) -> list[Event]:
        """Record findings and return the transitions. Raises LeaseLost."""
        return findings.record(self._engine, fencing_token, found)

    def conclude(
        self,
        fencing_token: int,
        before: Sequence[Protection],
        after: Sequence[Protection],
        at: datetime,
        *,
        blind: bool,
        by: str | None = None,
    ) -> list[Event]:
        """End a look at every service, keeping the lease; return its events. Raises LeaseLost."""
        return findings.conclude(self._engine, fencing_token, before, after, at, blind=blind, by=by)

    def prune(
        self,
        judged: Sequence[Service],
        whys: Mapping[int, str],
        drivers: Sequence[str],
        by: str,
        unseen: float,
    ) -> set[int]:
        """End these services' records, and return whose; see ``store.pruning``. Needs no lease."""
        return pruning.prune(self._engine, judged, whys, drivers, by, unseen)

    def mirror(self, look: Look) -> Looked:
        """Store what a mirror saw; see ``store.mirrors``. Needs no lease. Raises Conflict."""
        return mirrors.keep(self._engine, look)
