"""``python -m nemesis.stepped MODULE …`` is ``python -m MODULE …`` by a clock of libfaketime's.

Python sleeps until a moment of the monotonic clock, which libfaketime refuses; so it waits instead.
"""

from __future__ import annotations

import runpy
import select
import sys
import time


def sleep(seconds: float) -> None:
    """Do what ``time.sleep`` does."""
    select.select([], [], [], seconds)


if __name__ == "__main__":
    vars(time)["sleep"] = sleep
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
