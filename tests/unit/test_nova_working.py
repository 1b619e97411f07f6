"""A process of Nova that runs and takes no work any more: present for one time to live."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from drivers.reference import Directory, Reference, ReferenceOptions
from servicegroup.model import Limits, Member, PresenceState
from servicegroup.nova import membership as memberships
from servicegroup.nova.membership import Membership
from servicegroup.nova.working import why_idle
from support.waiting import until

MEMBER = Member("compute", "node1")
LIFE = 4711
LIMITS = Limits(heartbeat_interval=0.05, membership_ttl=60.0)

ENDED = """
import os, threading, sys
from servicegroup.nova.working import why_idle
{before}
main = threading.main_thread()
def look():
    main.join()
    print(why_idle() or "works", flush=True)
threading.Thread(target=look).start()
"""
"""The main thread ends, and another one that is no daemon keeps the process alive (F-40)."""

PATCHED = """
import types
patcher = types.ModuleType("eventlet.patcher")
patcher.is_monkey_patched = lambda module: module == "thread"
sys.modules["eventlet.patcher"] = patcher
"""

FORKED = """
import os, threading
from servicegroup.nova.working import why_idle
def fork():
    pid = os.fork()
    if pid == 0:
        print(why_idle() or "works", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""


class Signs:
    """What a test says of the process and of the time."""

    idle = ""
    now = 0.0


@pytest.fixture
def signs() -> Signs:
    return Signs()


@pytest.fixture
def driver(tmp_path: Path) -> Reference:
    return Reference(ReferenceOptions(directory=str(Directory(tmp_path).directory)))


def joined(driver: Reference, signs: Signs) -> Membership:
    membership = Membership(MEMBER, LIFE, [driver], LIMITS, lambda: signs.idle, lambda: signs.now)
    until(lambda: state(driver) is PresenceState.PRESENT)
    return membership


def state(driver: Reference) -> PresenceState:
    return driver.presence([MEMBER])[MEMBER].state


def beating() -> bool:
    return any(thread.name == "servicegroup-reference" for thread in threading.enumerate())


def said(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_main_thread_has_ended() -> None:
    assert said(ENDED.format(before="")).startswith("its main thread has ended")


def test_green_threads_have_no_main_thread_that_counts() -> None:
    assert said(ENDED.format(before=PATCHED)) == "works\n"


def test_a_worker_works_that_another_thread_has_forked() -> None:
    assert said(FORKED) == "works\n"


def test_a_service_that_drains_takes_no_work() -> None:
    service = SimpleNamespace(manager=SimpleNamespace(_shutdown_in_progress=threading.Event()))
    assert why_idle(service) == ""
    service.manager._shutdown_in_progress.set()
    assert why_idle(service).startswith("it was told to stop")


def test_who_takes_no_work_leaves_when_a_time_to_live_is_over(
    driver: Reference, signs: Signs, caplog: pytest.LogCaptureFixture
) -> None:
    joined(driver, signs)
    signs.idle = "it is deaf"
    until(lambda: "the process runs, but it is deaf." in caplog.text)
    assert state(driver) is PresenceState.PRESENT, "a restart within it is no outage"
    driver.leave(MEMBER)
    driver.heartbeat(MEMBER, LIFE - 1, 60.0)
    signs.now = LIMITS.membership_ttl
    until(lambda: not beating())
    assert driver.presence([MEMBER])[MEMBER].incarnations == {LIFE - 1}
    assert caplog.text.count("it is deaf") == 1


def test_who_takes_no_work_is_not_kept_by_heartbeats(driver: Reference, signs: Signs) -> None:
    membership = joined(driver, signs)
    signs.idle = "it is deaf"
    # A beat that is under way may still be written once.
    until(lambda: _emptied_for_good(driver))
    membership.end()
    until(lambda: not beating())


def _emptied_for_good(driver: Reference) -> bool:
    driver.leave(MEMBER)
    return not threading.Event().wait(5 * LIMITS.heartbeat_interval) and (
        state(driver) is not PresenceState.PRESENT
    )


def test_a_worker_that_ends_leaves_the_life_that_it_shares(
    driver: Reference, signs: Signs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memberships, "_STARTED_IN", os.getpid() + 1)
    joined(driver, signs)
    signs.idle, signs.now = "it was told to stop", 0.0
    until(lambda: not _beats(signs))
    assert driver.presence([MEMBER])[MEMBER].incarnations == {LIFE}


def _beats(signs: Signs) -> bool:
    signs.now += LIMITS.membership_ttl
    return beating()
