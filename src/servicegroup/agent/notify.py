"""What systemd is told of an agent: ready once registered, its state in words, and that it lives.

Says nothing where ``$NOTIFY_SOCKET`` is not set.
"""

from __future__ import annotations

import contextlib
import os
import socket

from servicegroup.agent.join import Membership, State

TICK = 1.0
"""Seconds between two looks at the membership; a watchdog must allow more than two reports."""


def notify(*fields: str) -> None:
    """Send fields such as ``READY=1`` to the service manager, if there is one; never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace; in a path it is a letter (F-11)
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto("\n".join(fields).encode(), address)


class Status:
    """Tells the service manager what changed since the last look."""

    def __init__(self, membership: Membership) -> None:
        """Look at this membership."""
        self._membership = membership
        self._beats = 0
        self._said: set[str] = set()

    def look(self, *, stopping: bool = False) -> None:
        """Send what is new; ``stopping`` once the agent was told to stop."""
        fields = {f"STATUS={self._words()}"}
        if self._membership.incarnation is not None:
            fields.add("READY=1")
        if stopping:
            fields.add("STOPPING=1")
        new = sorted(fields - self._said)
        # The loop of an ended membership rests for good, and that is no reason to be restarted.
        if self._membership.beats != self._beats or self._membership.state in _ENDS:
            new.append("WATCHDOG=1")
        self._beats = self._membership.beats
        self._said = fields
        if new:
            notify(*new)

    def _words(self) -> str:
        state, detail = self._membership.state, self._membership.detail
        words = f"{state}, incarnation {self._membership.incarnation or 'unknown'}"
        return f"{words}: {detail}" if detail else words


_ENDS = frozenset({State.LEFT, State.DELETED, State.SUPERSEDED})
