"""The connections: to the one server, or to whichever the sentinels call the primary."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from servicegroup.drivers.redis.address import FORMS, Address
from servicegroup.drivers.redis.options import RedisOptions
from servicegroup.errors import ConfigError

IN_A_CLUSTER = (
    "it is part of a Redis Cluster, which is not supported; name a primary outside of the cluster,"
    " or sentinels as redis+sentinel://host:26379/MASTER"
)

_QUOTED = re.compile(r", with args beginning with|,? script: ")


class NoPrimary(redis.RedisError):
    """No sentinel names a primary that can be used; the message says why, for each of them."""


class Sentinels(Sentinel):
    """Sentinels, asked one after the other; the one that could answer last is asked first."""

    def __init__(self, address: Address, limits: dict[str, Any], budget: float) -> None:
        """Connect to nothing yet; ``limits`` are the time limits of every connection.

        After ``budget`` seconds no further sentinel is asked: the next question begins there.
        """
        asked = {**limits, **address.sentinel}
        served = {**limits, **address.server}
        super().__init__(address.sentinels, sentinel_kwargs=asked, **served)  # type: ignore[no-untyped-call]
        self._budget = budget
        self._first = 0
        self.without_quorum = ""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return where the primary is, by a sentinel that has a quorum where there is one.

        Without a quorum nobody fails over, and a sentinel that is cut off from the others may
        name a primary that is none any more; ``without_quorum`` then says so. Raises NoPrimary.
        """
        refusals: dict[str, list[str]] = {}
        alone: tuple[tuple[str, int], str] | None = None
        begun = time.monotonic()
        for place in self._order():
            if time.monotonic() - begun >= self._budget:
                self._first = place
                break
            sentinel = self.sentinels[place]
            try:
                state, quorum = _asked(sentinel, service_name)
                found = _usable(state, quorum)
            except (redis.RedisError, OSError) as error:
                refusals.setdefault(cause_of(error), []).append(_where(sentinel))
                continue
            if not quorum:
                self._first, self.without_quorum = place, ""
                return found
            alone = alone or (found, f"sentinel {_where(sentinel)} has no quorum: {quorum}")
        if alone is None:
            said = [f"{cause} (sentinel {', '.join(who)})" for cause, who in refusals.items()]
            raise NoPrimary("; ".join(said))
        found, self.without_quorum = alone
        return found

    def _order(self) -> list[int]:
        everybody = [*range(len(self.sentinels))]
        return everybody[self._first :] + everybody[: self._first]


def client_of(address: Address, options: RedisOptions) -> redis.Redis:
    """Return a client that connects when it is first used; raises ConfigError.

    What the library says of a wrong option is not passed on: it may quote a part of the password.
    """
    limits = {
        "protocol": 2,
        "socket_connect_timeout": options.connect_timeout,
        "socket_timeout": options.answer_timeout,
        # Once more at once, for a connection that turns out to be closed, as after a restart.
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    }
    try:
        if address.sentinels:
            budget = options.connect_timeout + options.answer_timeout
            sentinels = Sentinels(address, limits, budget)
            sentinels.sentinels[0].connection_pool.make_connection()
            client: redis.Redis = sentinels.master_for(address.master)  # type: ignore[no-untyped-call]
        else:
            client = redis.Redis.from_pool(redis.ConnectionPool(**{**limits, **address.server}))
        client.connection_pool.make_connection()  # refuses unknown options; connects to nothing
    except (ValueError, TypeError):
        raise ConfigError(FORMS) from None
    return client


def find_primary(client: redis.Redis) -> str:
    """Ask the sentinels, if there are any, so that the next question goes where they say.

    A connection to a primary that was replaced is closed. Returns why the sentinels' word is
    worth little, or nothing. Raises NoPrimary.
    """
    pool = client.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return ""
    pool.get_master_address()  # type: ignore[no-untyped-call]
    return str(pool.sentinel_manager.without_quorum)


def let_go(client: redis.Redis) -> None:
    """Close idle connections after a failure, so that the next question asks the sentinels anew.

    redis-py keeps a connection that sentinels led to when its answer is late: a primary that hangs
    would be asked until the end, though another was elected long ago.
    """
    if is_by_sentinels(client):
        client.connection_pool.disconnect(inuse_connections=False)


def follow_primary(client: redis.Redis) -> None:
    """Do what ``find_primary`` does; where no sentinel names one, the one before is still asked."""
    with contextlib.suppress(NoPrimary):
        find_primary(client)


def is_by_sentinels(client: redis.Redis) -> bool:
    """Return whether sentinels say which server is asked."""
    return isinstance(client.connection_pool, SentinelConnectionPool)


def close(client: redis.Redis) -> None:
    """Close every connection, those to sentinels too."""
    pool = client.connection_pool
    client.close()
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            sentinel.close()


def cause_of(error: BaseException) -> str:
    """Return what went wrong, with the remedy where the server is not of the kind that is needed.

    What was sent is cut off: a server may quote it, and it may be a secret. So is where in a
    script it was refused.
    """
    text = re.split(r", with args beginning with|,? script: ", str(error), maxsplit=1)[0].rstrip(
        "."
    )
    upper = text.upper()
    if "UNKNOWN COMMAND" in upper and "SENTINEL" in upper:
        return "it is no sentinel; the port of sentinels is usually 26379"
    if "UNKNOWN COMMAND" in upper:
        return f"{text}; if it is a sentinel, write redis+sentinel://host:26379/MASTER"
    if "NO SUCH MASTER" in upper:
        return f"{text}; write the name that sentinel monitor has, after the hosts"
    if isinstance(error, (redis.exceptions.MovedError, redis.exceptions.ClusterDownError)) or (
        "SAME SLOT" in upper or "CROSSSLOT" in upper
    ):
        return IN_A_CLUSTER
    return text or type(error).__name__


def _asked(sentinel: redis.Redis, master: str) -> tuple[dict[str, Any], str]:
    """Return what a sentinel knows of the primary, and why it has no quorum, or nothing."""
    with sentinel.pipeline(transaction=False) as question:
        question.sentinel_master(master)
        question.sentinel_ckquorum(master)
        state, quorum = question.execute(raise_on_error=False)
    if isinstance(state, Exception):
        raise state
    return state, cause_of(quorum) if isinstance(quorum, Exception) else ""


def _usable(state: dict[str, Any], quorum: str) -> tuple[str, int]:
    """Return the address of a primary that is believed to be one. Raises NoPrimary."""
    where = f"{state['ip']}:{state['port']}"
    if not state["is_master"] or state["is_sdown"] or state["is_odown"]:
        why = f", without a quorum: {quorum}" if quorum else ""
        raise NoPrimary(f"the primary {where} does not answer, and no other is elected yet{why}")
    return str(state["ip"]), int(state["port"])


def _where(sentinel: redis.Redis) -> str:
    place = sentinel.connection_pool.connection_kwargs
    return f"{place['host']}:{place['port']}"
