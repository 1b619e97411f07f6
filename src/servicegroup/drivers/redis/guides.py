"""Whoever knows which server is the primary, asked one after the other.

They are sentinels, or the servers of a cluster. redis-py's pool for sentinels does the rest: it
connects to the server that they name, and leaves it when they name another.
"""

from __future__ import annotations

import abc
import contextlib
import time
from collections.abc import Collection
from typing import Any

import redis
from redis.sentinel import Sentinel, SentinelConnectionPool

from servicegroup.drivers.redis.causes import NoPrimary, cause_of


class Guides(Sentinel, abc.ABC):
    """Those to ask for the primary; the one that could answer last is asked first."""

    kind: str
    """What one of them is called."""
    by_cluster = False

    def __init__(
        self,
        places: Collection[tuple[str, int]],
        asked: dict[str, Any],
        served: dict[str, Any],
        budget: float,
    ) -> None:
        """Connect to nothing yet: to guides with arguments ``asked``, to the primary by ``served``.

        After ``budget`` seconds no further one is asked: the next question begins there.
        """
        super().__init__(places, sentinel_kwargs=asked, **served)  # type: ignore[no-untyped-call]
        self._budget = budget
        self._first: redis.Redis = self.sentinels[0]
        self.doubt = ""

    @abc.abstractmethod
    def asked(self, guide: redis.Redis, service_name: str) -> tuple[tuple[str, int], str]:
        """Return where one of them says the primary is, and why its word is worth little.

        Raises NoPrimary, and redis-py's errors.
        """

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return where the primary is, by one who speaks for most where there is one.

        Without a majority nobody fails over, and who is cut off from the others may name a primary
        that is none any more; ``doubt`` then says so. Raises NoPrimary.
        """
        refusals: dict[str, list[str]] = {}
        alone: tuple[tuple[str, int], str] | None = None
        begun = time.monotonic()
        for guide in self.order():
            if time.monotonic() - begun >= self._budget:
                self._first = guide
                break
            try:
                found, doubt = self.asked(guide, service_name)
            except (redis.RedisError, OSError) as error:
                cause = cause_of(error, by_cluster=self.by_cluster)
                refusals.setdefault(cause, []).append(place_of(guide))
                continue
            if not doubt:
                self._first, self.doubt = guide, ""
                return found
            alone = alone or (found, f"{self.kind} {place_of(guide)} {doubt}")
        if alone is None:
            said = [f"{cause} ({self.kind} {', '.join(who)})" for cause, who in refusals.items()]
            raise NoPrimary("; ".join(said))
        found, self.doubt = alone
        return found

    def disagree(self, service_name: str) -> bool:
        """Tell whether two who speak for most name different primaries, as after a failover."""
        places = set()
        begun = time.monotonic()
        for guide in self.order():
            if time.monotonic() - begun >= self._budget:
                break
            with contextlib.suppress(redis.RedisError, OSError):
                found, doubt = self.asked(guide, service_name)
                places.update([] if doubt else [found])
        return len(places) > 1

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


def do_guides_disagree(client: redis.Redis) -> bool:
    """Tell whether some who are asked by agents may still name a primary that was replaced."""
    pool = client.connection_pool
    return isinstance(pool, SentinelConnectionPool) and bool(
        pool.sentinel_manager.disagree(pool.service_name)
    )


def let_go(client: redis.Redis) -> None:
    """Close idle connections after a failure, so that the next question asks the guides anew.

    redis-py keeps a connection that they led to when its answer is late: a primary that hangs would
    be asked until the end, though another was elected long ago.
    """
    if guides_of(client):
        client.connection_pool.disconnect(inuse_connections=False)
