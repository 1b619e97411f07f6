"""kazoo's way of waiting, for native threads and for eventlet's, with limits of ours.

With eventlet, kazoo's handler for native threads takes two requests in flight for a server that
does not answer, and drops the connection (F-45).
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any

from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.handlers.utils import AsyncResult

from servicegroup.green import are_threads_green


def handler(patience: Callable[[], float]) -> Any:
    """Return a handler that suits the threads of this process, for one client.

    It gives up on a server that does not answer after ``patience`` seconds, before the session is
    lost to it. kazoo would wait for a whole session timeout on a host that is down, while two
    thirds of it have passed already when it starts to look for another server.
    """
    made = _green_handler() if are_threads_green() else _NativeHandler()
    made.patience = patience
    return made


class _Bounded:
    """What a handler does not leave to kazoo."""

    patience: Callable[[], float]

    def create_connection(self, *arguments: Any, **options: Any) -> Any:
        """Open a connection within the time there is."""
        kazoo: Any = super()
        return kazoo.create_connection(*arguments, **{**options, "timeout": self.patience()})


class _NativeHandler(_Bounded, SequentialThreadingHandler):  # type: ignore[misc]  # no annotations
    pass


def _green_handler() -> Any:
    """Make a handler on eventlet, which must not be imported where it is not in use."""
    from kazoo.handlers.eventlet import SequentialEventletHandler, green_threading

    class GreenHandler(_Bounded, SequentialEventletHandler):  # type: ignore[misc]
        timeout_exception = KazooTimeoutError  # whatever waits for an answer knows this one

        def start(self) -> None:
            """Start, and end with the process: another thread would wait for ever at its exit."""
            super().start()
            atexit.unregister(self.stop)

        def async_result(self) -> AsyncResult:
            return AsyncResult(self, green_threading.Condition, KazooTimeoutError)

    return GreenHandler()
