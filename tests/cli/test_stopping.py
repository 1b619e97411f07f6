"""A process that goes on until it is told to stop hears that in any case."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from support.waiting import until

WAITING = """
import signal
import sys
import threading
from pathlib import Path

from servicegroup.cli.stopping import StopSignals

stop = StopSignals()
main = threading.main_thread().native_id
state = Path(f"/proc/self/task/{main}/stat")


def tell():
    while state.read_text().rpartition(") ")[2][0] != "S":
        pass
    signal.pthread_kill(threading.get_ident(), int(sys.argv[1]))


threading.Thread(target=tell, daemon=True).start()
stop.wait()
"""

TOLD_BEFORE = """
import os
import sys

from servicegroup.cli.stopping import StopSignals

stop = StopSignals()
os.kill(os.getpid(), int(sys.argv[1]))
stop.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
@pytest.mark.parametrize("program", [WAITING, TOLD_BEFORE], ids=["another-thread", "before"])
def test_it_stops_whichever_thread_hears_it_and_when(program: str, number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", program, str(int(number))]) as process:
        try:
            until(lambda: process.poll() is not None, 20, what="the end")
        finally:
            process.kill()
    assert process.returncode == 0
