"""Whoever knows which server is the primary: one of them is asked, or all where it matters.

They are sentinels, or the servers of a cluster. redis-py's pool for sentinels does the rest: it
connects to the server that they name, and leaves it when they name another.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Collection
from typing import Any, NamedTuple

import redis
from redis.sentinel import Sentinel, SentinelConnectionPool

from servicegroup.drivers.redis.causes import NoPrimary, cause_of
from servicegroup.drivers.redis.inquiries import Inquiries

Place = tuple[str, int]

MOST = 9
"""Guides that one list asks: all sentinels there are, and enough servers of a large cluster."""


class Word(NamedTuple):
    """What a guide says: where the primary is, by which name alone it is known to all guides.

    ``doubt`` says why that is worth little, or nothing.
    """

    place: Place
    name: str
    doubt: str


class Guides(Sentinel, abc.ABC):
    """Those to ask for the primary; the one that could answer last is asked first."""

    kind: str
    """What one of them is called."""
    by_cluster = False

    def __init__(
        self,
        places: Collection[Place],
        master: str,
        asked: dict[str, Any],
        served: dict[str, Any],
        budget: float,
    ) -> None:
        """Connect to nothing yet: to guides with arguments ``asked``, to the primary by ``served``.

        ``master`` is the primary's name, and ``budget`` the seconds that one search may take.
        """
        super().__init__(places, sentinel_kwargs=asked, **served)  # type: ignore[no-untyped-call]
        self.master = master
        self._budget = budget
        self._inquiries = Inquiries(self.asked)
        self._first: redis.Redis = self.sentinels[0]
        self.doubt = ""
        self.found = ""

    @abc.abstractmethod
    def asked(self, guide: redis.Redis) -> Word:
        """Return what one of them says. Raises NoPrimary, and redis-py's errors."""

    def discover_master(self, service_name: str) -> Place:
        """Return where the primary is, by one who speaks for most where there is one.

        Without a majority nobody fails over, and who is cut off from the others may name a primary
        that is none any more; ``doubt`` then says so. ``found`` is its name. Raises NoPrimary.
        """
        refusals: dict[str, list[str]] = {}
        alone: Word | None = None
        for guide, answer in self._inquiries.in_turn(self.order(), self._budget):
            try:
                word = answer.result()
            except (redis.RedisError, OSError) as error:
                cause = cause_of(error, by_cluster=self.by_cluster)
                refusals.setdefault(cause, []).append(place_of(guide))
                continue
            if not word.doubt:
                self._first, self.doubt, self.found = guide, "", word.name
                return word.place
            doubt = f"{self.kind} {place_of(guide)} {word.doubt}"
            alone = alone or word._replace(doubt=doubt)
        if alone is None:
            said = [f"{cause} ({self.kind} {', '.join(who)})" for cause, who in refusals.items()]
            raise NoPrimary("; ".join(said) or f"no {self.kind} has answered")
        self.doubt, self.found = alone.doubt, ""
        return alone.place

    def named(self) -> set[str]:
        """Return what those who speak for most call the primary: two names during a failover.

        All are asked, and who hangs is not waited for.
        """
        names = set()
        for answer in self._inquiries.of_all(self.order()[-MOST:], self._budget):
            with contextlib.suppress(redis.RedisError, OSError):
                word = answer.result()
                names.update([] if word.doubt else [word.name])
        return names

    def order(self) -> list[redis.Redis]:
        """Return them in the order in which they are asked."""
        everybody = list(self.sentinels)
        first = everybody.index(self._first) if self._first in everybody else 0
        return everybody[first:] + everybody[:first]


def place_of(guide: redis.Redis) -> str:
    """Return host and port."""
    place = guide.connection_pool.connection_kwargs
    return f"{place['host']}:{place['port']}"


def guides_of(client: redis.Redis) -> Guides | None:
    """Return who says which server this client asks, if it is not named."""
    pool = client.connection_pool
    return pool.sentinel_manager if isinstance(pool, SentinelConnectionPool) else None


def find_primary(client: redis.Redis) -> str:
    """Ask the guides, if there are any, so that the next question goes where they say.

    A connection to a primary that was replaced is closed. Returns why the guides' word is worth
    little, or nothing. Raises NoPrimary.
    """
    pool = client.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return ""
    pool.get_master_address()  # type: ignore[no-untyped-call]
    return str(pool.sentinel_manager.doubt)


def follow_primary(client: redis.Redis) -> None:
    """Do what ``find_primary`` does; where nobody names one, the one before is still asked."""
    with contextlib.suppress(NoPrimary):
        find_primary(client)


def find_undisputed(client: redis.Redis) -> tuple[str, str]:
    """Do what ``find_primary`` does, and ask all guides whether that is the primary for all.

    Returns the doubt, and which primaries they name where it is more than one, as during a
    failover: agents follow either of them, and each acknowledges what is written to it (F-21).
    """
    guides = guides_of(client)
    if guides is None:
        return "", ""
    named = guides.named()
    doubt = find_primary(client)
    named.update([guides.found] if guides.found else [])
    if len(named) < 2:
        return doubt, ""
    both = " and ".join(sorted(named))
    what = f"{guides.kind}s name more than one primary, {both}, as while one is replaced"
    return doubt, f"{what}; if it lasts, mend the one that is wrong"


def let_go(client: redis.Redis) -> None:
    """Close idle connections after a failure, so that the next question asks the guides anew.

    redis-py keeps a connection that they led to when its answer is late: a primary that hangs would
    be asked until the end, though another was elected long ago.
    """
    if guides_of(client):
        client.connection_pool.disconnect(inuse_connections=False)
