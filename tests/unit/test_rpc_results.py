"""What a probe found, as others on its host read it: it ends by itself, and never breaks."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from servicegroup.errors import ConfigError
from servicegroup.nova.rpc.options import RpcSettings
from servicegroup.nova.rpc.results import SUSPECT, Answer, Results, Told
from servicegroup.rpc import RpcState

KEEP = 600.0
NOW = 1_800_000_000.0
ANSWERS = Answer("cell1/compute", NOW - 10, took=0.004)
DEAF = Answer("cell1/compute", NOW - 10, deaf_since=NOW - 300, detail="it took no question in 5 s")


class Clock:
    """The host's clock, in seconds since 1970."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def results(tmp_path: Path, clock: Clock) -> Results:
    return Results(str(tmp_path / "rpc.json"), KEEP, clock)


def told(results: Results, clock: Clock, *, deaf_is_down: bool = True) -> Told:
    """Return what a process that begins now judges by, which looks at each question."""
    moments: Iterator[float] = iter(range(0, 1_000_000, 2))
    settings = RpcSettings(deaf_is_down, 5, 100, KEEP, str(results.path))
    return Told(settings, clock, lambda: next(moments))


def test_what_was_found_is_evidence(results: Results, clock: Clock) -> None:
    results.add({"one": ANSWERS, "two": DEAF})
    ask = told(results, clock)
    one, two = ask("one"), ask("two")
    assert one is not None
    assert (one.state, one.age, one.deaf_for) == (RpcState.ANSWERS, 10, None)
    assert two is not None
    assert (two.state, two.age, two.deaf_for, two.decides) == (RpcState.DEAF, 10, 300, True)
    assert two.detail == DEAF.detail
    assert ask("three") is None


def test_deaf_decides_only_where_that_is_wanted(results: Results, clock: Clock) -> None:
    results.add({"two": DEAF})
    two = told(results, clock, deaf_is_down=False)("two")
    assert two is not None
    assert two.is_deaf
    assert not two.decides


def test_what_was_found_ends_by_itself(results: Results, clock: Clock) -> None:
    results.add({"two": DEAF})
    ask = told(results, clock)
    clock.now = NOW - 10 + KEEP
    assert ask("two") is not None
    clock.now += 0.1
    assert ask("two") is None
    assert results.read() == {}


def test_a_clock_that_was_set_back_means_that_nothing_is_known(
    results: Results, clock: Clock
) -> None:
    results.add({"two": DEAF})
    ask = told(results, clock)
    clock.now = NOW - 3600
    assert ask("two") is None


def test_a_process_learns_what_the_next_probe_finds(results: Results, clock: Clock) -> None:
    ask = told(results, clock)
    assert ask("two") is None
    results.add({"two": DEAF})
    found = ask("two")
    assert found is not None
    assert found.is_deaf
    results.add({"two": ANSWERS})
    found = ask("two")
    assert found is not None
    assert not found.is_deaf
    results.path.unlink()
    assert ask("two") is None


def test_a_probe_of_a_few_leaves_the_others(results: Results) -> None:
    results.add({"one": ANSWERS, "two": DEAF})
    results.add({"one": msgspec.structs.replace(ANSWERS, took=0.1)})
    assert results.read()["two"] == DEAF
    assert results.read()["one"].took == 0.1


def test_two_probes_at_once_lose_nothing(results: Results) -> None:
    def add(first: int) -> None:
        for number in range(first, first + 20):
            results.add({str(number): ANSWERS})

    threads = [threading.Thread(target=add, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results.read()) == 60


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"two": 3}', b'{"two": {"place": 1}}', b"\xff\xfe", b"null"]
)
def test_a_broken_file_accuses_nobody_and_is_written_anew(
    results: Results, clock: Clock, content: bytes
) -> None:
    results.path.write_bytes(content)
    assert told(results, clock)("two") is None
    assert results.read() == {}
    assert str(results.path) in results.problem
    results.add({"two": DEAF})
    assert results.read() == {"two": DEAF}
    assert results.problem == ""


def test_a_file_that_cannot_be_written_is_refused_in_one_sentence(tmp_path: Path) -> None:
    results = Results(str(tmp_path / "missing" / "rpc.json"), KEEP)
    with pytest.raises(ConfigError, match=r"rpc.json cannot be written: No such file") as refused:
        results.add({})
    assert "\n" not in str(refused.value)


def test_a_link_that_waits_for_the_probe_is_not_followed(results: Results, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    results.path.symlink_to(victim)
    results.add({"two": DEAF})
    assert victim.read_text() == "kept"
    assert stat.S_IMODE(results.path.stat().st_mode) == 0o644
    lock = Path(f"{results.path}.lock")
    lock.unlink()
    lock.symlink_to(victim)
    with pytest.raises(ConfigError, match="cannot be written"):
        results.add({"two": DEAF})
    assert victim.read_text() == "kept"


def test_a_crowd_that_is_deaf_accuses_the_broker(results: Results, clock: Clock) -> None:
    """AND-2: a fifth of a cell's group at least, and three; another cell's are as they were."""
    answers = {f"ok{n}": ANSWERS for n in range(8)}
    elsewhere = msgspec.structs.replace(DEAF, place="cell2/compute")
    results.add(answers | {"deaf0": DEAF, "deaf1": DEAF, "elsewhere": elsewhere})
    two = told(results, clock)("deaf0")
    assert two is not None
    assert two.decides
    results.add({"deaf2": DEAF})
    ask = told(results, clock)
    crowd, alone = ask("deaf0"), ask("elsewhere")
    assert crowd is not None
    assert crowd.is_deaf
    assert not crowd.decides
    assert SUSPECT in crowd.detail
    assert alone is not None
    assert alone.decides
