"""The connections: to the one server, or to whichever its guides call the primary."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from servicegroup.drivers.redis.address import FORMS, Address
from servicegroup.drivers.redis.cluster import ClusterServers
from servicegroup.drivers.redis.guides import Guides, guides_of
from servicegroup.drivers.redis.options import RedisOptions
from servicegroup.drivers.redis.sentinels import Sentinels
from servicegroup.errors import ConfigError


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
    budget = options.connect_timeout + options.answer_timeout
    try:
        if guides := _guides(address, limits, budget):
            guides.sentinels[0].connection_pool.make_connection()
            client: redis.Redis = guides.master_for(address.master)  # type: ignore[no-untyped-call]
        else:
            client = redis.Redis.from_pool(redis.ConnectionPool(**{**limits, **address.server}))
        client.connection_pool.make_connection()  # refuses unknown options; connects to nothing
    except (ValueError, TypeError):
        raise ConfigError(FORMS) from None
    return client


def close(client: redis.Redis) -> None:
    """Close every connection, those to guides too."""
    guides = guides_of(client)
    client.close()
    for guide in guides.sentinels if guides else ():
        guide.close()


def _guides(address: Address, limits: dict[str, Any], budget: float) -> Guides | None:
    served = {**limits, **address.server}
    if address.cluster:
        return ClusterServers(address.cluster, address.master, served, served, budget)
    if address.sentinels:
        asked = {**limits, **address.sentinel}
        return Sentinels(address.sentinels, address.master, asked, served, budget)
    return None
