"""F-6: what keeps a check from being run is the agent's trouble, and no answer of the service."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

import pytest

from servers.process import PATIENCE
from servicegroup.agent.check import Check
from servicegroup.errors import InvalidInput
from support.waiting import until


def refuse(*_: object, **__: object) -> int:
    raise PermissionError(1, "Operation not permitted")


def state(pid: int) -> str:
    """Return the letter that /proc has for a process, X for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where no directory can be written to, under an old kernel or a strict profile."""
    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/directory")


@pytest.mark.usefixtures("bare")
def test_a_check_needs_neither_a_directory_nor_a_recent_kernel() -> None:
    assert Check("true", 30)() is True
    assert Check("sh -c 'echo no libvirt; exit 1'", 30)() == "no libvirt"
    assert Check("sleep 1000", 0.2)() == "The check gave no answer within 0.2 s."


@pytest.mark.usefixtures("bare")
def test_no_zombie_is_left() -> None:
    pid = Check("sh -c 'echo $$; exit 1'", 30)()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("ending", ["exit 0", "echo no; exit 1"])
def test_what_a_check_leaves_in_the_background_ends_with_it(tmp_path: Path, ending: str) -> None:
    """Else it piles up, one more with each report (F-11)."""
    left = tmp_path / "left"
    program = script(tmp_path / "check", f"sleep 1000 >&- 2>&- & echo $! > {left}\n{ending}")
    assert Check(program, 30)() == (True if ending == "exit 0" else "no")
    pid = int(left.read_text())
    until(lambda: state(pid) in "ZX", PATIENCE, what="the end of what it left")


@pytest.mark.parametrize(("works", "answer"), [("exit 0", True), ("echo no; exit 1", "no")])
def test_what_cannot_be_started_any_more_leaves_the_last_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, works: str, answer: object
) -> None:
    program = tmp_path / "check"
    check = Check(script(program, works), 30)
    assert check() == answer
    program.unlink()
    assert [check(), check()] == [answer] * 2
    script(program, "echo later; exit 1")
    assert check() == "later"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, "once each"
    assert "cannot be started (No such file or directory)" in said[0]
    assert "says nothing about the service" in said[0]
    assert "is run again" in said[1]


def test_too_many_open_files_are_not_the_services_failure() -> None:
    check = Check("true", 30)
    assert check() is True
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert check() is True
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("program", ["no-such-program", "/etc", "/etc/passwd", "./missing"])
def test_a_check_that_can_never_be_run_is_refused(program: str) -> None:
    with pytest.raises(InvalidInput, match=f"--check {program} is no program"):
        Check(f"{program} --x", 1)
