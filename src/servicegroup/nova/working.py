"""Whether a process of Nova still takes work, as far as it can tell from inside (F-40, F-48).

A heartbeat proves that one thread lives. Nova's services answer RPC while their main thread lives,
and until they are told to stop; their reports go on in threads of their own after either.
"""

from __future__ import annotations

import threading
from typing import Any

from servicegroup.green import are_threads_green


def why_idle(service: Any = None) -> str:
    """Return why this process takes no work any more, as the end of a sentence; "" while it does.

    ``service`` is Nova's service object, where there is one.
    """
    if _has_main_thread_ended():
        return "its main thread has ended, and with it the answers to RPC"
    stopping = getattr(getattr(service, "manager", None), "_shutdown_in_progress", None)
    if stopping is not None and stopping.is_set():
        return "it was told to stop, and takes no RPC while it ends what it began"
    return ""


def _has_main_thread_ended() -> bool:
    """Tell so of native threads; eventlet's are all one thread, whatever its modules make of that.

    A fork makes the thread that forked the main thread of the new process.
    """
    if are_threads_green():
        return False
    return not threading.main_thread().is_alive()
