"""The servers of a Redis Cluster, of which one master at a time holds all members (F-16).

Before each question a server is asked which master serves the members' slot. It is another one
than that master while others answer: one that hung, and was replaced meanwhile, says at first that
it still serves. So a slot that has moved, or was failed over, is found by the same question.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis.exceptions import AskError, TryAgainError

from servicegroup.drivers.redis.causes import NoPrimary
from servicegroup.drivers.redis.guides import (
    Guides,
    Place,
    Word,
    follow_primary,
    guides_of,
    place_of,
)
from servicegroup.drivers.redis.keys import SLOT

_PAUSE = 0.05
"""Seconds until what was refused, because its keys are moved, is tried again."""

T = TypeVar("T")


def _place(server: Any, asked_at: str) -> Place:
    host = (server[0] or b"").decode()
    return asked_at if host in ("", "?") else host, int(server[1])


class Layout:
    """What an answer to CLUSTER SLOTS says: the ``servers``, and who is ``owner`` of our slot."""

    def __init__(self, shares: Any, asked_at: str) -> None:
        """Read it; a server that has not learned its own address is where it was asked.

        Raises NoPrimary for an answer that is none.
        """
        self.servers: list[Place] = []
        self.owner: Place | None = None
        self.owner_id = ""
        try:
            for begin, end, *servers in shares:
                places = [_place(server, asked_at) for server in servers]
                self.servers += places
                if int(begin) <= SLOT <= int(end):
                    self.owner, self.owner_id = places[0], servers[0][2].decode()
        except (TypeError, ValueError, LookupError, AttributeError):
            raise NoPrimary("its answer to CLUSTER SLOTS cannot be read") from None


class ClusterServers(Guides):
    """The servers of a cluster: those of the URL, and those that the last answer named."""

    kind = "server"
    by_cluster = True
    _named: tuple[redis.Redis, ...] = ()
    _owner = ""

    def __init__(self, *given: Any) -> None:
        """Take what ``Guides`` takes; several answers may be learnt from at once."""
        super().__init__(*given)
        self._learning = threading.Lock()

    def asked(self, guide: redis.Redis) -> Word:
        """Ask a server which master serves the slot, and whether the cluster works for it.

        The master goes by its id: servers may know each other by an address and by a host name.
        """
        with guide.pipeline(transaction=False) as question:
            question.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            question.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
            shares, info = question.execute()
        state = info.get("cluster_state")
        doubt = "" if state == "ok" else f"says cluster_state:{state}; see CLUSTER INFO there"
        layout = Layout(shares, str(guide.connection_pool.connection_kwargs["host"]))
        if not doubt:
            with self._learning:
                self._learn(layout.servers)
        if layout.owner is None:
            raise NoPrimary(f"no master serves the members' slot {SLOT}, {doubt or 'yet'}")
        self._owner = f"{layout.owner[0]}:{layout.owner[1]}"
        return Word(layout.owner, f"node {layout.owner_id}", doubt)

    def order(self) -> list[redis.Redis]:
        """Ask the master that holds the members last about itself."""
        return sorted(super().order(), key=lambda server: place_of(server) == self._owner)

    def _learn(self, places: list[Place]) -> None:
        """Keep asking after all servers of the URL were replaced one by one."""
        self._named = self._named or tuple(self.sentinels)
        known = {place_of(server): server for server in [*self._named, *self.sentinels]}
        for host, port in places:
            address = f"{host}:{port}"
            known[address] = known.get(address) or redis.Redis(host, port, **self.sentinel_kwargs)
        now = dict.fromkeys(f"{host}:{port}" for host, port in places)
        now |= dict.fromkeys(place_of(server) for server in self._named)
        self.sentinels = [known[address] for address in now]


def through_a_move(client: redis.Redis, question: Callable[[], T], patience: float) -> T:
    """Ask, and for ``patience`` seconds again while the keys are moved to another master.

    Moving a slot takes some milliseconds, in which what needs several of its keys is refused.
    """
    given_up = time.monotonic() + patience
    while True:
        try:
            return question()
        except (AskError, TryAgainError):
            if not guides_of(client) or time.monotonic() >= given_up:
                raise
        time.sleep(_PAUSE)
        follow_primary(client)
