"""How much one client may ask for, so that none takes the control plane from the others.

A client is the host of a certificate, else an address; of IPv6 the network of 64 bits that one
subscriber gets. This host's own processes are not limited: a proxy on it speaks for everybody,
and whoever runs here has the machine anyway.
"""

from __future__ import annotations

import enum
import ipaddress
import logging
import math
from collections import Counter, OrderedDict
from functools import lru_cache

MAX_HEAD = 32 * 1024
"""Bytes that a request's line and headers may have, together; the largest tokens have 16 KiB."""

MAX_URL = 8 * 1024
"""Bytes that a request's path and query may have."""

BURST = 10.0
"""Seconds whose requests a client may save up, and then send at once."""

MAX_LARGE = 2
"""Large answers that may be on the way to a client at a time: their files are few, for all."""

_FORGETTING = 10_000
"""Clients that are remembered before idle ones are looked for."""

_EXAMINED = 2
"""Clients examined for each new one (F-55): a constant cost."""

_LOG = logging.getLogger(__name__)


class Limit(enum.StrEnum):
    """What a client was refused, or cut off, for."""

    RATE = "rate"
    CLIENT_CONNECTIONS = "client-connections"
    CONNECTIONS = "connections"
    HEAD = "head"
    URL = "url"
    CERTIFICATE = "certificate"
    SLOW_REQUEST = "slow-request"
    UNREAD_ANSWER = "unread-answer"
    LARGE_ANSWERS = "large-answers"


class ClientQuota:
    """One client's connections, and the requests it has left; a token bucket."""

    __slots__ = (
        "_at",
        "_left",
        "_most",
        "_rate",
        "connections",
        "large",
        "most_large",
        "name",
        "told",
    )

    def __init__(self, name: str, rate: float, now: float, most_large: float = MAX_LARGE) -> None:
        """Allow ``rate`` requests a second, or any number for infinity.

        ``most_large`` answers that are large may be on the way to it.
        """
        self.name = name
        self.connections = 0
        self.large = 0
        self.most_large = most_large
        self.told = False
        self._rate = rate
        self._most = max(1.0, rate * BURST)
        self._left = self._most
        self._at = now

    def wait(self, now: float) -> float:
        """Return 0 and count a request, or return the seconds until there is one left."""
        if self._rate == math.inf:
            return 0.0
        self._refill(now)
        if self._left < 1.0:
            return (1.0 - self._left) / self._rate
        self._left -= 1.0
        return 0.0

    def is_idle(self, now: float) -> bool:
        """Tell whether there is nothing to remember of it."""
        self._refill(now)
        return self.connections == 0 and self._left >= self._most

    def _refill(self, now: float) -> None:
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now


class Clients:
    """Who is connected to this process; for one event loop. Zero is no limit."""

    def __init__(self, rate: float = 0.0, each: int = 0, most: int = 0) -> None:
        """Allow a client ``rate`` requests a second and ``each`` connections, all of them ``most``.

        All are those that are not limited, too: files are what a process runs out of.
        """
        self.connections = 0
        self.refused: Counter[Limit] = Counter(dict.fromkeys(Limit, 0))
        self._rate = rate or math.inf
        self._each = each or math.inf
        self._most = most or math.inf
        self._known: OrderedDict[str, ClientQuota] = OrderedDict()
        self._own = ClientQuota("this host", math.inf, 0.0, math.inf)

    def connect(self, host: str | None, address: str, now: float) -> ClientQuota | Limit:
        """Return the client that connects, or what it has too much of.

        ``host`` is the one of its certificate. Who is returned has to ``disconnect``.
        """
        client = self._client(host, address, now)
        refused = self._refusal(client)
        if refused is not None:
            self.refuse(client, refused)
            return refused
        client.connections += 1
        self.connections += 1
        return client

    def disconnect(self, client: ClientQuota) -> None:
        """Forget one connection."""
        client.connections -= 1
        self.connections -= 1

    def refuse(self, client: ClientQuota, limit: Limit) -> None:
        """Count a refusal; of each client the first one is logged."""
        self.refused[limit] += 1
        if not client.told:
            client.told = True
            _LOG.warning(
                "Client %s exceeds a limit: %s. Counted from here on.", client.name, limit.value
            )

    def _refusal(self, client: ClientQuota) -> Limit | None:
        if self.connections >= self._most:
            return Limit.CONNECTIONS
        if client is not self._own and client.connections >= self._each:
            return Limit.CLIENT_CONNECTIONS
        return None

    def _client(self, host: str | None, address: str, now: float) -> ClientQuota:
        name = client_name(host, address)
        if name is None:
            return self._own
        client = self._known.get(name)
        if client is None:
            if len(self._known) >= _FORGETTING:
                self._forget(now)
            client = self._known[name] = ClientQuota(name, self._rate, now)
        return client

    def _forget(self, now: float) -> None:
        """Drop the idle among those examined longest ago; the others have their turn again."""
        for _ in range(min(_EXAMINED, len(self._known))):
            name, client = self._known.popitem(last=False)
            if not client.is_idle(now):
                self._known[name] = client


def client_name(host: str | None, address: str) -> str | None:
    """Return which client connects: the ``host`` of its certificate, else by its address.

    None is this host, whose processes are not limited.
    """
    return host or _network(address)


@lru_cache(_FORGETTING)
def _network(address: str) -> str | None:
    """Return the client an address belongs to; None for this host."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None  # a socket of this host has no address
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    if found.is_loopback:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return str(found)
