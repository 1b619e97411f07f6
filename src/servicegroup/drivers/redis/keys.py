"""Where things are written: the set of each group, and the marks that ``scripts`` explains.

In a Redis Cluster the keys of one question have to be on one server. A key's hash tag, the part in
braces, is all that decides where it is, so every key has the same one. All groups then cost one
question, as they do outside of a cluster, and the marks are written in one piece with the members.
"""

from __future__ import annotations

import msgspec
from redis.crc import key_slot

_TAG = "register"

SLOT = key_slot(_TAG.encode())
"""The slot of a cluster that every key is in."""


class Keys(msgspec.Struct, frozen=True):
    """The names of all keys; ``prefix`` is what they begin with."""

    prefix: str

    def group(self, name: str) -> str:
        """Return the key of a group's set."""
        return f"{self.prefix}members:{name}"

    @property
    def marks(self) -> tuple[str, str, str]:
        """The keys that a heartbeat writes beside a group: canary, doubt and longest."""
        return f"{self.prefix}canary", self.doubt, f"{self.prefix}longest"

    @property
    def doubt(self) -> str:
        """The key that is there while a missing entry proves nothing."""
        return f"{self.prefix}doubt"

    @property
    def proof(self) -> tuple[str, str, str]:
        """The keys that a look writes or reads: look, canary and doubt."""
        return (f"{self.prefix}look", *self.marks[:2])


ANYWHERE = Keys("servicegroup:")
IN_ONE_SLOT = Keys(f"servicegroup:{{{_TAG}}}:")
