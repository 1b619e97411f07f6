"""Where the answers about a snapshot's members come from: the backend, or the record itself."""

from __future__ import annotations

from servicegroup.judging import Judge, Presences
from servicegroup.sessions import presences_of
from servicegroup.store.snapshots import Snapshot


def answers_for(judge: Judge, snapshot: Snapshot) -> Presences:
    """Return who is present of the members of a snapshot, by the driver of ``judge``.

    A backend is asked once; what is recorded has been read with the services.
    """
    if judge.driver.capabilities.recorded:
        ttl = judge.limits.membership_ttl
        return presences_of(snapshot.services, snapshot.sessions, snapshot.listening, ttl)
    return judge.ask(snapshot.services)
