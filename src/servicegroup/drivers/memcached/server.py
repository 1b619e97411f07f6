"""One memcached server: its connections, and what must be remembered to believe a miss."""

from __future__ import annotations

import contextlib
import math
import re
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from pymemcache.client.base import Client
from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
)

from servicegroup.errors import DriverUnavailable
from servicegroup.per_process import PerProcess

T = TypeVar("T")

DOUBT = "servicegroup:doubt"
EMPTIED = b"emptied"
_LOGIN = "servicegroup:login"
_PROCESS = "servicegroup:process"
_PROOF, _PROOF_LIFE = b"1 10", 2
"""What is written to see whether writes are taken: a member's value, for so many seconds."""

_DOUBTED = 61
"""Seconds of doubt after a restart that kept the keys; who notices it knows no time to live."""

_CLOSED = (ConnectionError, MemcacheUnexpectedCloseError)


class _Unusable(Exception):
    """Somebody answers who is no server for us; the message ends the sentence about it."""


class _Refused(Exception):
    """The server answers, and takes no new key; the message is what it says."""


class Server:
    """A server as one handle knows it; shared between threads, and found anew after a fork."""

    def __init__(
        self,
        host: str,
        port: int,
        connect_timeout: float,
        timeout: float,
        tls: ssl.SSLContext | None = None,
        login: bytes = b"",
    ) -> None:
        self.name = f"{host}:{port}"
        self.failing = False
        self._address = (host, port)
        self._timeouts = (connect_timeout, timeout)
        self._tls = tls
        self._login = login
        self.lets_everybody_in = False
        self._idle = PerProcess(deque[Client])
        self._back_at = -math.inf
        self._evictions = 0

    def ask(self, question: Callable[[Client], T]) -> T:
        """Ask on a connection of one's own. Raises DriverUnavailable.

        An idle connection that turns out to be closed, as after a restart, is not a failure.
        """
        try:
            answer = self._ask(question)
        except _Unusable as error:
            self.failing = True
            raise DriverUnavailable(f"memcached {self.name} {error}.") from error
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

    def prove(self, key: str) -> None:
        """Add a key, read it back and delete it (F-1). Raises DriverUnavailable.

        That it is refused is no failure of the server, which tells of others as before.
        """
        try:
            self.ask(lambda client: _write_and_read(client, key))
        except _Refused as error:
            raise DriverUnavailable(
                f"memcached {self.name} takes no new keys ({error}); give it more memory (-m), or"
                " servicegroup a server of its own."
            ) from error

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
                if fresh:
                    self._introduce(client)
                answer = question(client)
            except BaseException as error:
                client.close()
                if fresh or not isinstance(error, _CLOSED):
                    raise
            else:
                idle.append(client)
                return answer

    def _introduce(self, client: Client) -> None:
        """Log in where the server asks for it, and make sure that it is a server (F-22, F-23).

        A proxy such as twemproxy answers for servers that it has given up: their keys are misses.
        It passes ``version`` on and closes the connection at ``stats``, which every server knows.
        The password is sent to no server that has not asked for one, and never as what could be
        read again.
        """
        try:
            client.version()
            self.lets_everybody_in = True
        except MemcacheClientError as error:
            self.lets_everybody_in = False
            if not self._login:
                raise _Unusable("asks for a user; set [memcached] username and password") from error
            self._log_in(client)
        known = client.get(_PROCESS, b"")
        stats: dict[bytes, Any] = {}
        with contextlib.suppress(*_CLOSED):
            stats = client.stats()
        if b"evictions" not in stats:
            raise _Unusable(
                "does not answer stats, as a proxy such as twemproxy does not; name the memcached"
                " servers themselves in [memcached] servers"
            )
        self._compare(client, known, int(stats[b"pid"]), int(stats[b"total_connections"]))

    def _compare(self, client: Client, known: bytes, pid: int, connections: int) -> None:
        """Doubt misses after a restart that kept the keys (-e): some expired while it was away.

        ``known`` was read before the counter, which only grows: more of them were another
        process's, also in a container, where all have one number.
        """
        found = re.fullmatch(rb"(\d{1,10}) (\d{1,19})", known)
        if found and (int(found[1]) != pid or int(found[2]) > connections):
            client.set(DOUBT, EMPTIED, expire=_DOUBTED, noreply=False)
        client.set(_PROCESS, b"%d %d" % (pid, connections), noreply=False)

    def _log_in(self, client: Client) -> None:
        try:
            client.set(_LOGIN, self._login, expire=-1, noreply=False)
        except MemcacheClientError as error:
            raise _Unusable(
                "does not let this user in; check [memcached] username and password"
            ) from error

    def _client(self) -> Client:
        connect_timeout, timeout = self._timeouts
        return Client(
            self._address,
            connect_timeout=connect_timeout,
            timeout=timeout,
            no_delay=True,
            tls_context=self._tls,
        )


def _write_and_read(client: Client, key: str) -> None:
    """Write as a member that joins does, and read it back; raises _Refused."""
    try:
        client.add(key, _PROOF, expire=_PROOF_LIFE, noreply=False)
    except MemcacheServerError as error:
        raise _Refused(_words(error)) from error
    if client.get(key) != _PROOF:
        raise _Refused("it loses what was just written")
    client.delete(key, noreply=False)


def _words(error: MemcacheServerError) -> str:
    """Return what a server said, which the library keeps as bytes."""
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
