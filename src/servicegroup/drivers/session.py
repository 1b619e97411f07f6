"""Driver ``session``: a service is present while it holds a session with a control plane.

It has no backend: sessions are part of the record, where control planes write how they begin and
end, and they are read in the statement that reads the services. So there is nothing to heartbeat
to, to leave or to ask here, and the layer asks nothing. What is here is what can be configured, how
long a crash takes to show, and who wants to know at once that a session ended.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import msgspec

from servicegroup import driver
from servicegroup.driver import Capabilities, Driver, Watcher
from servicegroup.keepalive import Keepalive
from servicegroup.model import Member, Presence, PresenceState

_NOTICE = 0.5
"""Seconds in which an end is written and seen; and those between two looks at who is silent."""


class SessionOptions(driver.Options, frozen=True, kw_only=True):
    """What [session] takes."""

    linger: Annotated[float, msgspec.Meta(ge=0, description=(
        "Seconds that a service has to open another session, on any control plane, after its"
        " connection broke. Higher forgives slower reconnections, and tells a crash as much later."
    ))] = 1.0  # fmt: skip
    keepalive_idle: Annotated[int, msgspec.Meta(ge=1, description=(
        "Whole seconds without a byte after which the kernel asks whether the other host is there."
    ))] = 1  # fmt: skip
    keepalive_interval: Annotated[int, msgspec.Meta(ge=1, description=(
        "Whole seconds between two such questions."
    ))] = 1  # fmt: skip
    keepalive_probes: Annotated[int, msgspec.Meta(ge=1, description=(
        "Questions without an answer after which the connection is broken: a dead host, or a cut"
        " cable, shows after keepalive_idle + keepalive_probes x keepalive_interval."
    ))] = 3  # fmt: skip

    @property
    def keepalive(self) -> Keepalive:
        """What the kernel is told, on both ends of a session."""
        return Keepalive(self.keepalive_idle, self.keepalive_interval, self.keepalive_probes)


class SessionDriver(Driver):
    """Presence from the record of sessions."""

    name = "session"
    capabilities = Capabilities(pushes=True, recorded=True)
    Options = SessionOptions
    options: SessionOptions

    def __init__(self, options: SessionOptions) -> None:
        """Keep the options."""
        super().__init__(options)
        self._watchers: list[Watcher] = []

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        """Do nothing: an open session is the heartbeat."""

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        """Do nothing: who speaks for a deleted service is told in its session."""

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Answer UNKNOWN for each: the record has the answer."""
        unknown = Presence(PresenceState.UNKNOWN, detail="sessions are read with the record")
        return dict.fromkeys(members, unknown)

    def watch(self, callback: Watcher) -> None:
        """Call back with members whose session was opened or ended."""
        self._watchers.append(callback)

    def changed(self, members: Collection[Member]) -> None:
        """Tell who watches that these members' sessions changed."""
        for watcher in self._watchers:
            watcher(members)

    def detection_time(self, ttl: float) -> float:
        """Return the longest of the ways to lose a session: a process that hangs, or a dead host.

        A crash alone takes ``linger``: the kernel closes the connection of a dead process.
        """
        silent = ttl + 2 * _NOTICE
        cut_off = self.options.keepalive.seconds + self.options.linger + _NOTICE
        return max(silent, cut_off)

    def warnings(self) -> list[str]:
        """Return nothing: there is no backend to be wrong."""
        return []

    def close(self) -> None:
        """Do nothing."""
