"""What was imported too early for eventlet, mended once Nova has put it in place (F-45).

To learn from nova.conf how it is to run, Nova opens every source of configuration that is
installed, and one of them imports oslo_context. What that keeps for each thread, the request whose
id the log shows, is then one for all of eventlet's threads, for they are all one thread.
"""

from __future__ import annotations

import sys
import threading

from servicegroup.green import are_threads_green


def separate_requests() -> None:
    """Have each of eventlet's threads keep a request of its own; does nothing without eventlet."""
    context = sys.modules.get("oslo_context.context")
    if context is None or not are_threads_green():
        return
    if not isinstance(context._request_store, threading.local):  # noqa: SLF001 - as Nova's bug 1773102
        context._request_store = threading.local()  # type: ignore[attr-defined]  # noqa: SLF001
