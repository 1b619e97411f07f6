"""A short storm over a whole world: every promise is kept (the long one is ``make soak``)."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nemesis.clock import COMPILER, Clock
from nemesis.faults import KINDS
from nemesis.play import play
from nemesis.schedule import PAUSES, schedule
from servers.mariadb import MariaDB
from servers.memcached import Memcached
from servers.plugin import require
from servers.postgresql import PostgreSQL
from servers.process import PATIENCE
from servers.zookeeper import ZooKeeper

SECONDS = 20.0


@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore::PendingDeprecationWarning"
)  # openstacksdk's, of its own doings
@pytest.mark.timeout(600)
def test_the_promises_are_kept_in_a_storm(tmp_path: Path) -> None:
    for server in (PostgreSQL, MariaDB, ZooKeeper, Memcached):
        require(server)
    seed = random.randrange(2**32)
    print(f"python -m nemesis --seed {seed} --seconds {SECONDS}")
    outcome = play(tmp_path, seed, SECONDS)
    assert outcome.violations == []
    assert outcome.observations > 50
    assert outcome.faults.total() > 5


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
