"""A kazoo client with persistent recursive watches, and the two facts kazoo keeps to itself.

kazoo lacks the AddWatch request of ZooKeeper 3.6 (ZK-10) and does not tell which session timeout
the server granted (ZK-6) nor when the server was last heard. This is the only file that reaches
under kazoo's public surface: it overrides four methods of its connection, and breaks, together
with its tests, when kazoo renames them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from kazoo.client import KazooClient
from kazoo.protocol.connection import CREATED_EVENT, DELETED_EVENT, ConnectionHandler
from kazoo.protocol.serialization import Auth, Connect, Watch, int_struct, write_string
from kazoo.protocol.states import Callback

from servicegroup.drivers.zookeeper.handlers import handler

LONGEST_PAUSE = 0.5
"""Seconds at most, give or take two fifths, between two attempts to connect."""

RETRY = {"max_tries": -1, "delay": 0.1, "max_delay": LONGEST_PAUSE}
"""How kazoo reconnects: for ever, and never further apart than a short session can bear."""

SHORTEST_ATTEMPT = 0.5
"""Seconds granted at least to one attempt to open a connection."""

PERSISTENT_RECURSIVE = 1


def _is_harmless(record: logging.LogRecord) -> bool:
    """Keep the password out of logs: at level debug kazoo writes every request, Auth too."""
    return not any(isinstance(argument, Auth) for argument in record.args or ())


logging.getLogger("kazoo.client").addFilter(_is_harmless)


@dataclass(frozen=True)
class AddWatch:
    """The request for one watch on a node and everything below it that no event uses up.

    Servers before 3.6 answer with UnimplementedError. The watch ends with the connection, also
    within a session, so it is asked for again after every reconnect.
    """

    path: str
    type: ClassVar[int] = 106

    def serialize(self) -> bytes:
        """Return the request's body."""
        return bytes(write_string(self.path)) + bytes(int_struct.pack(PERSISTENT_RECURSIVE))

    @staticmethod
    def deserialize(buffer: bytes, offset: int) -> bool:
        """Return success: failure is in the header of the reply."""
        del buffer, offset
        return True


class Client(KazooClient):  # type: ignore[misc]  # kazoo has no annotations
    """A kazoo client whose watches last.

    ``on_node(path, exists)`` is called in kazoo's callback thread for every node created or
    deleted below a path that is watched lastingly. ``negotiated_timeout`` is the session timeout
    the server granted, in seconds, or None before the first connection; ``heard_at`` is when
    anything was last received, on the monotonic clock. A client that has ``ended`` connects no
    more, because it was stopped or refused.
    """

    on_node: Callable[[str, bool], None] | None = None

    def __init__(self, **options: Any) -> None:
        waiting = handler(lambda: self.attempt_timeout)
        super().__init__(
            handler=waiting,
            connection_retry={**RETRY, "sleep_func": waiting.sleep_func},
            logger=_Demoted(),
            **options,
        )
        self.negotiated_timeout: float | None = None
        self.heard_at = time.monotonic()
        self.ended = False
        self.handshake_timeout = max(SHORTEST_ATTEMPT, options["timeout"] / 3)
        self.attempt_timeout = max(SHORTEST_ATTEMPT, options["timeout"] / 3 / len(self.hosts))
        self._connection = _Connection(
            self,
            self._conn_retry.copy(),
            logger=self.logger,
            sasl_options=options.get("sasl_options"),
        )

    def add_watch_async(self, path: str) -> Any:
        """Ask for a persistent recursive watch; the result is kazoo's asynchronous one."""
        result = self.handler.async_result()
        self._call(AddWatch(self.chroot + path), result)
        return result


class _Connection(ConnectionHandler):  # type: ignore[misc]  # kazoo has no annotations
    def zk_loop(self) -> None:
        """Run until stopped or refused, and say so at the end."""
        try:
            super().zk_loop()
        except Exception:
            self.logger.exception("The connection to ZooKeeper ended")
        finally:
            self.client.ended = True

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        if isinstance(request, Connect):
            # A server refuses whoever has seen more of its history than it has itself: after a
            # lost disk that is every client, for ever. Ours list anew, after a sync, instead.
            request = request._replace(last_zxid_seen=0)
            # One that is starting may never answer, and kazoo would wait for a session timeout.
            timeout = min(timeout, self.client.handshake_timeout)
        answer = super()._invoke(timeout, request, xid)
        self.client.heard_at = time.monotonic()
        if isinstance(request, Connect) and answer[0].time_out > 0:
            self.client.negotiated_timeout = answer[0].time_out / 1000
        return answer

    def _read_socket(self, read_timeout: float) -> Any:
        response = super()._read_socket(read_timeout)
        self.client.heard_at = time.monotonic()
        return response

    def _read_watch_event(self, buffer: bytes, offset: int) -> None:
        super()._read_watch_event(buffer, offset)
        event, _ = Watch.deserialize(buffer, offset)
        if self.client.on_node and event.type in (CREATED_EVENT, DELETED_EVENT):
            change = (self.client.unchroot(event.path), event.type == CREATED_EVENT)
            callback = Callback("watch", self.client.on_node, change)
            self.client.handler.dispatch_callback(callback)


class _Demoted(logging.LoggerAdapter[logging.Logger]):
    """Makes kazoo's warning for every failed attempt a debug message: the heart says it once."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger("kazoo.client"), {})

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Log errors as they are, and everything milder as debug at most."""
        if level < logging.ERROR:
            level = min(level, logging.DEBUG)
        super().log(level, msg, *args, **options)
