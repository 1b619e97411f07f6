"""Driver ``db``: the record is the only signal, as in Nova's default deployment (spec S7).

There is nothing beside the record to heartbeat, to leave or to ask, so it does nothing,
successfully, and the layer never asks it.
"""

from __future__ import annotations

from collections.abc import Collection

from servicegroup.driver import Capabilities, Driver, Watcher
from servicegroup.model import Member, Presence, PresenceState


class DbDriver(Driver):
    """No signal beside the record."""

    name = "db"
    capabilities = Capabilities(separate_signal=False)

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        """Do nothing: the report is the heartbeat."""

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        """Do nothing: there is no second record to free."""

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Answer UNKNOWN for each: this driver does not know more than the record."""
        unknown = Presence(PresenceState.UNKNOWN, detail="driver db has no signal of its own")
        return dict.fromkeys(members, unknown)

    def watch(self, callback: Watcher) -> None:
        """Do nothing: the record does not push."""

    def detection_time(self, ttl: float) -> float:
        """Return infinity: only service_down_time ends a service under this driver."""
        return float("inf")

    def warnings(self) -> list[str]:
        """Return nothing: there is no backend to be wrong."""
        return []

    def close(self) -> None:
        """Do nothing."""
