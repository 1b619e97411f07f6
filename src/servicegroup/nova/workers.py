"""One of the processes that were forked from one: the workers of a service share one member.

A register knows one life of a service, so one worker holds it, and when that worker dies another
one takes over. The kernel tells: it frees a dead process's locks.
"""

from __future__ import annotations

import fcntl
import os
from zlib import crc32

from servicegroup.model import Member


class WorkersLock:
    """Locks by member, on a file in memory that forked processes share; nothing is on a disk."""

    def __init__(self) -> None:
        """Make the file; the processes that share it are forked after this."""
        self._file = os.memfd_create("servicegroup-workers")

    def take(self, member: Member) -> bool:
        """Lock the member for this process, and return whether it has the lock now."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(member))
        except OSError:
            return False
        return True

    def give_up(self, member: Member) -> None:
        """Let another process have the member."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(member))


def _place(member: Member) -> int:
    return crc32(f"{member.group}\n{member.host}".encode())
