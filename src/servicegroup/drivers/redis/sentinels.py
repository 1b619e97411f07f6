"""The sentinels that watch a primary and its replicas."""

from __future__ import annotations

from typing import Any

import redis

from servicegroup.drivers.redis.causes import NoPrimary, cause_of
from servicegroup.drivers.redis.guides import Guides


class Sentinels(Guides):
    """Sentinels, believed where they have a quorum."""

    kind = "sentinel"

    def asked(self, guide: redis.Redis, service_name: str) -> tuple[tuple[str, int], str]:
        """Ask a sentinel for the primary by its name, and whether it has a quorum."""
        with guide.pipeline(transaction=False) as question:
            question.sentinel_master(service_name)
            question.sentinel_ckquorum(service_name)
            state, quorum = question.execute(raise_on_error=False)
        if isinstance(state, Exception):
            raise state
        refusal = cause_of(quorum) if isinstance(quorum, Exception) else ""
        found = _usable(state, refusal)
        doubt = f"has no quorum: {refusal}; start or reach enough sentinels"
        return found, doubt if refusal else ""


def _usable(state: dict[str, Any], quorum: str) -> tuple[str, int]:
    """Return the address of a primary that is believed to be one. Raises NoPrimary."""
    where = f"{state['ip']}:{state['port']}"
    if not state["is_master"] or state["is_sdown"] or state["is_odown"]:
        why = f", without a quorum: {quorum}" if quorum else ""
        raise NoPrimary(f"the primary {where} does not answer, and no other is elected yet{why}")
    return str(state["ip"]), int(state["port"])
