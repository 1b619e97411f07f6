"""Whether this process's threads are eventlet's, which take turns in one of the system's (F-45)."""

from __future__ import annotations

import sys


def are_threads_green() -> bool:
    """Tell whether eventlet has put its own in the place of native threads; imports nothing."""
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))
