"""A short storm over a whole world: every promise is kept (the long one is ``make soak``)."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from docs.pages import page
from nemesis.backends import BACKENDS
from nemesis.clock import COMPILER, Clock
from nemesis.databases import DATABASES
from nemesis.faults import KINDS
from nemesis.lasting import Lasting
from nemesis.schedule import PAUSES, schedule
from nemesis.short import short_storm
from servers.process import PATIENCE
from support.waiting import until


@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore::PendingDeprecationWarning"
)  # openstacksdk's, of its own doings
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("database", "backend"),
    [
        ("mariadb", "zookeeper"),
        ("standby", "memcached"),
        ("postgresql", "etcd"),
        ("pgbouncer", "redis"),
    ],
)
def test_the_promises_are_kept_in_a_storm(database: str, backend: str, tmp_path: Path) -> None:
    short_storm(tmp_path, database, backend)


def test_a_clock_steps_and_the_monotonic_one_does_not(tmp_path: Path) -> None:
    if COMPILER is None:
        pytest.skip("SKIPPED: there is no compiler; apt-get install gcc libc6-dev")
    clock = Clock(tmp_path / "clock")
    told = "import time; time.sleep(0.01); print(time.time(), time.monotonic(), flush=True)"
    program = f"{told}; input(); {told}"
    with subprocess.Popen(
        [*clock.words, sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as teller:
        assert teller.stdin is not None
        assert teller.stdout is not None
        for ahead in (0, -3600.5):
            clock.step(ahead)
            teller.stdin.write("\n")
            teller.stdin.flush()
            wall, monotonic = map(float, teller.stdout.readline().split())
            assert ahead - PATIENCE < wall - time.time() <= ahead
            assert 0 <= time.monotonic() - monotonic < PATIENCE


def test_a_seed_is_a_schedule() -> None:
    once, again = (schedule(7, 600, list(KINDS.values())) for _ in range(2))
    assert once == again
    assert once != schedule(8, 600, list(KINDS.values()))


def test_ten_minutes_have_every_kind() -> None:
    lanes = schedule(7, 600, list(KINDS.values()))
    assert {step.kind for steps in lanes.values() for step in steps} == set(KINDS)
    assert set(lanes) == set(PAUSES) == {kind.lane for kind in KINDS.values()}


def test_every_kind_and_every_world_has_its_row() -> None:
    rows = page("docs/contributors/nemesis.md").rows
    told = [(name, row) for row in rows for name in re.findall(r"`([a-z-]+)`", row[0])]
    lanes = {name: row[1] for name, row in told if len(row) == 3}
    assert lanes == {kind.name: kind.lane for kind in KINDS.values()}
    worlds = {name for name, row in told if len(row) == 2}
    assert worlds == {"--database", "--backend"} | set(DATABASES) | set(BACKENDS)


def test_an_old_seed_is_the_same_schedule_beside_new_lanes() -> None:
    *old, _ = PAUSES
    kinds = [kind for kind in KINDS.values() if kind.lane in old]
    lanes = schedule(7, 600, list(KINDS.values()))
    assert all(schedule(7, 600, kinds)[lane] == lanes[lane] for lane in old)


def test_a_wait_lasts_as_long_as_a_fault_that_prevents_it() -> None:
    lasting, mended = Lasting(), threading.Event()

    def fault() -> None:
        with lasting.fault("a flood"):
            mended.wait(PATIENCE)

    with ThreadPoolExecutor(1) as hands:
        hands.submit(fault)
        until(lasting.others)
        asked = iter([False] * 10 + [True])
        lasting.until(lambda: next(asked), str, interval=0.01, free=0.0)
        mended.set()
    with pytest.raises(AssertionError, match=r"it is dry; not within .* meanwhile: none"):
        lasting.until(lambda: False, lambda: "it is dry", interval=0.01, free=0.05)


def test_ones_own_fault_is_no_excuse() -> None:
    lasting = Lasting()
    with lasting.fault("a flood"), pytest.raises(AssertionError, match="it is dry; not within"):
        lasting.until(lambda: False, lambda: "it is dry", interval=0.01, free=0.05)
