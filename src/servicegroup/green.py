"""Whether this process's threads are eventlet's, which take turns in one of the system's (F-45)."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

WAITING_OUTSIDE = ("uwsgi", "mod_wsgi")
"""Modules of the servers that wait for requests outside of Python."""


def are_threads_green() -> bool:
    """Tell whether eventlet has put its own in the place of native threads; imports nothing."""
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))


def do_threads_stop_between_requests() -> bool:
    """Tell whether eventlet's threads get a turn only while a request is served here.

    Eventlet gives turns while its own functions wait, and such a server waits in C.
    """
    return are_threads_green() and any(name in sys.modules for name in WAITING_OUTSIDE)


def native_threading() -> ModuleType:
    """Return the module ``threading`` of native threads, whatever eventlet has put in its place."""
    if not are_threads_green():
        return threading
    original: ModuleType = sys.modules["eventlet.patcher"].original("threading")
    return original
