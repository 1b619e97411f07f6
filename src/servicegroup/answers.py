"""Where the answers about a snapshot's members come from: the backend, or the record itself.

And those of the services themselves, where they hold sessions in which they are asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from servicegroup.judging import Judge, Presences
from servicegroup.rpc import Rpc
from servicegroup.sessions import presences_of, rpcs_of
from servicegroup.store.snapshots import Snapshot


def answers_for(judge: Judge, snapshot: Snapshot) -> Presences:
    """Return who is present of the members of a snapshot, by the driver of ``judge``.

    A backend is asked once; what is recorded has been read with the services.
    """
    if judge.driver.capabilities.recorded:
        ttl = judge.limits.membership_ttl
        return presences_of(snapshot.services, snapshot.sessions, snapshot.listening, ttl)
    return judge.ask(snapshot.services)


def rpcs_for(judge: Judge, snapshot: Snapshot) -> Mapping[int, Rpc]:
    """Return by id who answers questions and who is deaf, where sessions are what is obeyed."""
    if not judge.driver.capabilities.recorded:
        return {}
    return rpcs_of(snapshot.services, snapshot.sessions, snapshot.listening, judge.rpc)
