"""One memcached server: its connections, and what must be remembered to believe a miss."""

from __future__ import annotations

import math
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError, MemcacheUnexpectedCloseError

from servicegroup.errors import DriverUnavailable
from servicegroup.per_process import PerProcess

T = TypeVar("T")


class Server:
    """A server as one handle knows it; shared between threads, and found anew after a fork."""

    def __init__(
        self,
        host: str,
        port: int,
        connect_timeout: float,
        timeout: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = f"{host}:{port}"
        self.failing = False
        self._address = (host, port)
        self._timeouts = (connect_timeout, timeout)
        self._tls = tls
        self._idle = PerProcess(deque[Client])
        self._back_at = -math.inf
        self._evictions = 0

    def ask(self, question: Callable[[Client], T]) -> T:
        """Ask on a connection of one's own. Raises DriverUnavailable.

        An idle connection that turns out to be closed, as after a restart, is not a failure.
        """
        try:
            answer = self._ask(question)
        except (OSError, MemcacheError, ValueError, KeyError) as error:
            self.failing = True
            cause = str(error) or type(error).__name__
            raise DriverUnavailable(f"memcached {self.name} cannot be asked: {cause}.") from error
        if self.failing:
            self.failing, self._back_at = False, time.monotonic()
        return answer

    def is_recovering(self, ttl: float) -> bool:
        """Tell whether it failed, or evicted, and has not answered for one time to live since."""
        return self.failing or time.monotonic() - self._back_at < ttl

    def evictions(self) -> int:
        """Return how many keys it has evicted since it started. Raises DriverUnavailable."""
        return int(self.ask(lambda client: client.stats()).get(b"evictions", 0))

    def note_evictions(self) -> None:
        """Distrust the server from now on if it evicted since the last look (MC-4)."""
        evictions = self.evictions()
        if evictions != self._evictions:
            self._evictions, self._back_at = evictions, time.monotonic()

    def close(self) -> None:
        """Close the idle connections."""
        idle = self._idle.get()
        while idle:
            idle.pop().close()

    def _ask(self, question: Callable[[Client], T]) -> T:
        idle = self._idle.get()
        while True:
            fresh = not idle
            client = self._client() if fresh else idle.pop()
            try:
                answer = question(client)
            except BaseException as error:
                client.close()
                if fresh or not isinstance(error, (ConnectionError, MemcacheUnexpectedCloseError)):
                    raise
            else:
                idle.append(client)
                return answer

    def _client(self) -> Client:
        connect_timeout, timeout = self._timeouts
        return Client(
            self._address,
            connect_timeout=connect_timeout,
            timeout=timeout,
            no_delay=True,
            tls_context=self._tls,
        )
