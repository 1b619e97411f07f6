"""One process's connection to ZooKeeper: it heals itself and knows what an outage has cost.

kazoo's threads call in here and are never made to wait; callers wait for at most ``PATIENCE``.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from kazoo.exceptions import (
    AuthFailedError,
    EphemeralOnLocalSessionError,
    KazooException,
    NoAuthError,
    QuotaExceededError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import Callback, KazooState, KeeperState

from servicegroup.driver import Watcher
from servicegroup.drivers.zookeeper.client import LONGEST_PAUSE, Client
from servicegroup.errors import DriverUnavailable

PATIENCE = 3.0
"""Seconds a call may take before it fails."""

_GARBLED = (RuntimeError, ValueError, struct.error)
"""What kazoo raises besides its own errors, for an answer that it cannot read or did not expect."""


class Session:
    """A connection for one process (ZK-14), made when first needed; threads may share it.

    ``connection`` counts how often it was connected: what was learnt on one connection, watches
    too, is worth nothing on the next (ZK-10).
    """

    on_connect: Callable[[Client], None] | None = None
    """Called with the client on every new connection, in a thread of kazoo's: it must not wait."""

    def __init__(self, on_change: Watcher, prefix: str, **options: Any) -> None:
        """Tell ``on_change`` whenever the connection is made or lost, in a thread of kazoo's.

        ``prefix`` is the node that errors name; ``options`` are kazoo's, of which ``hosts`` and
        ``timeout`` are needed.
        """
        self._prefix = prefix
        self.connection = 0
        self._on_change = on_change
        self._options = options
        self._client: Client | None = None
        self._live = threading.Event()
        self._lock = threading.Lock()
        self._lost_at = 0.0
        self._refused = False
        # Disturbed: it was found without a connection, so the next one may be to a server whose
        # members had no connection either. Settled: when they have had the time to come back.
        self._disturbed = False
        self._settled_at = 0.0

    @property
    def timeout(self) -> float | None:
        """The session timeout the server granted, in seconds; None while it is not known."""
        return self._client.negotiated_timeout if self._client else None

    @property
    def silence(self) -> float | None:
        """Seconds since the server was last heard; None if it never was."""
        client = self._client
        if client is None or client.negotiated_timeout is None:
            return None
        return time.monotonic() - client.heard_at

    @property
    def interrupted(self) -> bool:
        """Whether there was a connection and is none now."""
        client = self._client
        return client is not None and self.connection > 0 and not client.connected

    @property
    def recovering(self) -> bool:
        """Whether members may not yet have come back after an outage.

        It lasts for one session timeout after the connection is back, and for two pauses more,
        since a member whose attempt to reconnect failed pauses before the next.
        """
        return time.monotonic() < self._settled_at

    def connect(self, deadline: float) -> Client:
        """Return the connected client; raises DriverUnavailable.

        A connection that was just lost is waited for, until ``deadline`` on the monotonic clock
        and for ``PATIENCE`` seconds after the loss. Later it is made again meanwhile, and whoever
        needs it is told at once that it is not there.
        """
        client = self._started()
        if not client.connected:
            self._live.wait(left(min(deadline, self._lost_at + PATIENCE)))
        if client.connected:
            return client
        self._disturbed = True
        raise self._refusal() if self._refused else self._unavailable(client.state.lower())

    def close(self) -> None:
        """End the session, and its nodes with it; its expiry does where the server is away."""
        client, self._client = self._client, None
        if client is not None:
            _stop(client)

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Raise DriverUnavailable for whatever kazoo raises, in a sentence for people."""
        try:
            yield
        except (NoAuthError, AuthFailedError) as error:
            raise self._refusal() from error
        except QuotaExceededError as error:
            raise DriverUnavailable(
                f"ZooKeeper at {self.hosts} refuses to write, for a quota is exceeded; raise the"
                f" one of {self._prefix} or of a node above it (setquota in zkCli.sh)."
            ) from error
        except EphemeralOnLocalSessionError as error:
            raise DriverUnavailable(
                f"ZooKeeper at {self.hosts} gives local sessions, which hold no members; set"
                " localSessionsUpgradingEnabled = true on the servers."
            ) from error
        except KazooTimeoutError as error:
            raise self._unavailable("silent") from error
        except (KazooException, *_GARBLED) as error:
            raise self._unavailable(f"failing ({type(error).__name__})") from error

    @property
    def hosts(self) -> str:
        """The servers, with commas between."""
        return str(self._options["hosts"])

    def _refusal(self) -> DriverUnavailable:
        return DriverUnavailable(
            f"ZooKeeper at {self.hosts} does not let this user in at {self._prefix}; set"
            " [zookeeper] username and password to those that made the nodes, or repair their"
            " ACL; where the node is missing, make it for this user."
        )

    def _unavailable(self, state: str) -> DriverUnavailable:
        silence = self.silence
        since = "" if silence is None else f", last heard {silence:.1f} s ago"
        return DriverUnavailable(
            f"ZooKeeper at {self.hosts} is {state}{since}; check that it runs, that it has a"
            " quorum and that this host reaches it."
        )

    def _started(self) -> Client:
        """Return the client; a new one where the last was refused and tries no more."""
        with self._lock:
            former, client = self._client, self._client
            if client is None or client.ended:
                client = self._client = Client(**self._options)
                client.add_listener(partial(self._changed, client))
                self._lost_at = time.monotonic()
                self._live = client.start_async()
        if former is not None and former is not client:
            self._disturbed = True
            _stop(former)
        return client

    def _changed(self, client: Client, state: str) -> None:
        """Take note of what the connection has become; runs in kazoo's connection thread."""
        if client is not self._client:
            return
        if state != KazooState.CONNECTED:
            self._disturbed = True
            self._lost_at = time.monotonic()
            self._refused = client.client_state == KeeperState.AUTH_FAILED
        else:
            if self._disturbed:
                returned = (client.negotiated_timeout or 0.0) + 2 * LONGEST_PAUSE
                self._settled_at = time.monotonic() + returned
            self._disturbed = False
            self.connection += 1
            if self.on_connect is not None:
                self.on_connect(client)
        client.handler.dispatch_callback(Callback("watch", self._on_change, (None,)))


def left(deadline: float) -> float:
    """Return the seconds until a deadline on the monotonic clock, at least 0."""
    return max(0.0, deadline - time.monotonic())


def _stop(client: Client) -> None:
    with contextlib.suppress(KazooException):
        client.stop()
        client.close()
