"""The sentinels that watch a primary and its replicas."""

from __future__ import annotations

from typing import Any

import redis

from servicegroup.drivers.redis.causes import NoPrimary, cause_of
from servicegroup.drivers.redis.guides import Guides, Place, Word


class Sentinels(Guides):
    """Sentinels, believed where they have a quorum."""

    kind = "sentinel"

    def asked(self, guide: redis.Redis) -> Word:
        """Ask a sentinel for the primary by its name, and whether it has a quorum."""
        with guide.pipeline(transaction=False) as question:
            question.sentinel_master(self.master)
            question.sentinel_get_master_addr_by_name(self.master)
            question.sentinel_ckquorum(self.master)
            state, place, quorum = question.execute(raise_on_error=False)
        if isinstance(state, Exception):
            raise state
        refusal = cause_of(quorum) if isinstance(quorum, Exception) else ""
        found = _usable(state, place, refusal)
        doubt = f"has no quorum: {refusal}; start or reach enough sentinels"
        return Word(found, f"{found[0]}:{found[1]}", doubt if refusal else "")


def _usable(state: dict[str, Any], place: Any, quorum: str) -> Place:
    """Return the address of a primary that is believed to be one. Raises NoPrimary.

    Who leads a failover describes the former primary until all replicas follow the new one, and
    gives the new one's address from the moment it was promoted, where it may be asked for that.
    """
    described = (str(state["ip"]), int(state["port"]))
    found = (place[0].decode(), int(place[1])) if isinstance(place, tuple) else described
    if found != described:
        return found
    if not state["is_master"] or state["is_sdown"] or state["is_odown"]:
        why = f", without a quorum: {quorum}" if quorum else ""
        raise NoPrimary(
            f"the primary {found[0]}:{found[1]} does not answer, and no other is elected yet{why}"
        )
    return found
