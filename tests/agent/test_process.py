"""``servicegroup agent`` beside a process: what the register learns, and what the shell gets."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.agent_process import AgentProcess
from servers.process import family
from support.control_plane import ControlPlane
from support.waiting import until

SLEEP = ("--", "sleep", "1000")


def record(plane: ControlPlane, host: str) -> dict[str, Any]:
    return plane.services(f"?host={host}").get((host, "worker"), {})


def reason(plane: ControlPlane, host: str) -> str:
    found = record(plane, host)
    return str(found["verdict"]["reason"]) if found else "nothing"


def becomes(plane: ControlPlane, host: str, expected: str, timeout: float = 10) -> None:
    until(lambda: reason(plane, host) == expected, timeout, what=f"{host} is {expected}")


def python(code: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-c", code)


@pytest.fixture
def options(plane: ControlPlane, host: str) -> tuple[str, ...]:
    return ("--binary", "worker", "--host", host, "--url", plane.url)


def test_a_killed_command_is_exited_at_once(
    plane: ControlPlane, host: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    with AgentProcess(tmp_path, *options, *SLEEP) as agent:
        becomes(plane, host, "reporting")
        os.kill(agent.child(), signal.SIGKILL)
        killed = time.monotonic()
        becomes(plane, host, "exited")
        assert time.monotonic() - killed < 2
        assert agent.exit_code() == 128 + signal.SIGKILL
        gone = record(plane, host)
        assert (gone["departure"], gone["detail"]) == ("exited", "killed by SIGKILL")


@pytest.mark.parametrize(
    ("status", "expected", "detail"), [(3, "exited", "exit status 3"), (0, "left", None)]
)
def test_the_status_of_the_command_is_told_and_passed_on(
    plane: ControlPlane,
    host: str,
    options: tuple[str, ...],
    tmp_path: Path,
    status: int,
    expected: str,
    detail: str | None,
) -> None:
    with AgentProcess(tmp_path, *options, *python(f"raise SystemExit({status})")) as agent:
        assert agent.exit_code() == status
    assert reason(plane, host) == expected
    assert record(plane, host)["detail"] == detail


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_agent_stops_its_command_and_leaves(
    plane: ControlPlane,
    host: str,
    options: tuple[str, ...],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    with AgentProcess(tmp_path, *options, *SLEEP) as agent:
        becomes(plane, host, "reporting")
        agent.child()
        agent.send(number)
        assert agent.exit_code() == 128 + number
    assert reason(plane, host) == "left"


def test_a_command_may_take_its_time_to_stop_and_reports_meanwhile(
    plane: ControlPlane, host: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    slow = (
        "import signal, sys, pathlib, time\n"
        "def stop(*_):\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.05)\n"
        "    sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path('ready').touch()\n"
        "signal.pause()\n"
    )
    with AgentProcess(tmp_path, *options, *python(slow)) as agent:
        until((tmp_path / "ready").exists)
        becomes(plane, host, "reporting")
        agent.send(signal.SIGTERM)
        reports = record(plane, host)["report_count"]
        until(lambda: record(plane, host)["report_count"] >= reports + 2)
        (tmp_path / "go").touch()
        assert agent.exit_code() == 7
    assert reason(plane, host) == "left"


NOTE_SIGNALS = """
import signal, pathlib, sys
def note(number, _):
    with open("got", "a") as file:
        file.write(signal.Signals(number).name + "\\n")
    if number == signal.SIGTERM:
        sys.exit(0)
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGTERM"):
    signal.signal(getattr(signal, name), note)
pathlib.Path("ready").touch()
while True:
    signal.pause()
"""


def test_signals_are_passed_on(options: tuple[str, ...], tmp_path: Path) -> None:
    got = tmp_path / "got"
    with AgentProcess(tmp_path, *options, *python(NOTE_SIGNALS)) as agent:
        until((tmp_path / "ready").exists)
        names = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGTERM"]
        for name in names:
            agent.send(signal.Signals[name])
            until(lambda: got.exists() and got.read_text().split()[-1] == name)  # noqa: B023
        assert got.read_text().split() == names
        assert agent.exit_code() == 0


def test_the_interrupt_key_of_a_terminal_reaches_the_command_once(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        command = ["-m", "servicegroup", "agent", *options, *python(NOTE_SIGNALS)]
        os.execv(sys.executable, [sys.executable, *command])
    try:
        until((tmp_path / "ready").exists)
        os.kill(pid, signal.SIGSTOP)  # the command has its own signal before the agent has any
        os.write(terminal, b"\x03")
        got = tmp_path / "got"
        until(lambda: got.exists() and got.read_text())
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGUSR1)
        until(lambda: "SIGUSR1" in got.read_text())
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert got.read_text().split() == ["SIGINT", "SIGUSR1", "SIGTERM"]
    finally:
        os.close(terminal)


def test_a_killed_agent_is_silent(
    plane: ControlPlane, host: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    with AgentProcess(tmp_path, *options, *SLEEP) as agent:
        becomes(plane, host, "reporting")
        agent.child()
        agent.send(signal.SIGKILL)
        becomes(plane, host, "silent")


def test_without_a_command_it_reports_until_it_is_told_to_stop(
    plane: ControlPlane, host: str, tmp_path: Path
) -> None:
    environment = {
        "SERVICEGROUP_BINARY": "worker",
        "SERVICEGROUP_HOST": host,
        "SERVICEGROUP_URL": plane.url,
        "SERVICEGROUP_ZONE": "az7",
        "SERVICEGROUP_SERVICE_VERSION": "12",
    }
    with AgentProcess(tmp_path, **environment) as agent:
        becomes(plane, host, "reporting")
        found = record(plane, host)
        assert (found["zone"], found["version"]) == ("az7", 12)
        agent.send(signal.SIGTERM)
        assert agent.exit_code() == 0
    assert reason(plane, host) == "left"


def test_of_two_agents_the_newer_wins_and_the_older_says_so(
    plane: ControlPlane, host: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    with AgentProcess(tmp_path, *options, *SLEEP) as older:
        becomes(plane, host, "reporting")
        older.child()
        with AgentProcess(tmp_path, *options) as newer:
            until(lambda: "is superseded" in older.said)
            assert "this process is incarnation 1 and the register knows 2" in older.said
            older.send(signal.SIGTERM)
            assert older.exit_code() == 128 + signal.SIGTERM
            reports = record(plane, host)["report_count"]
            until(lambda: record(plane, host)["report_count"] > reports)
            assert reason(plane, host) == "reporting"
            assert newer.process.poll() is None
    assert "superseded" not in newer.said


def test_a_failing_check_shows_its_reason(
    plane: ControlPlane, host: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    check = "sh -c 'test -e works || { echo no libvirt; echo more; exit 1; }'"
    with AgentProcess(tmp_path, *options, "--check", check, *SLEEP) as agent:
        until(lambda: record(plane, host).get("detail") == "no libvirt")
        becomes(plane, host, "silent")
        (tmp_path / "works").touch()
        becomes(plane, host, "reporting")
        agent.child()
        agent.send(signal.SIGTERM)
        agent.exit_code()
    assert agent.said.count("withholds its signals: no libvirt") == 1
    assert agent.said.count("works again") == 1


@pytest.mark.parametrize(
    ("check", "detail"),
    [
        ("sleep 1000", "The check gave no answer within 0.2 s."),
        ("false", "The check ended with exit status 1."),
        ("sh -c 'kill -9 $$'", "The check ended with killed by SIGKILL."),
    ],
)
def test_a_check_that_gives_no_reason_has_one_all_the_same(
    plane: ControlPlane,
    host: str,
    options: tuple[str, ...],
    tmp_path: Path,
    check: str,
    detail: str,
) -> None:
    with AgentProcess(tmp_path, *options, "--check", check, "--check-timeout", "0.2"):
        until(lambda: (record(plane, host).get("detail") or "").startswith(detail))


@pytest.mark.parametrize("timeout", ["0.3", "900"])
def test_a_check_ends_with_its_time_or_with_the_agent_and_all_it_started_with_it(
    options: tuple[str, ...], tmp_path: Path, timeout: str
) -> None:
    check = "sh -c 'sleep 1000 & echo $! > new; mv -n new pid; wait'"
    pid = tmp_path / "pid"
    with AgentProcess(tmp_path, *options, "--check", check, "--check-timeout", timeout) as agent:
        started = int(until(lambda: pid.read_text() if pid.exists() else ""))
        if timeout == "900":
            agent.send(signal.SIGTERM)
            agent.exit_code()
        until(lambda: not family(started), what="the check is gone")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "word"),
    [
        (("--binary", "x", "--", "no-such-program"), 127, "no-such-program was not found"),
        (("--binary", "x", "--", "/etc"), 126, "/etc cannot be started"),
        (("--binary", ""), 2, "binary must have"),
        (("--binary", "x", "--url", "cp"), 2, "'cp' is not http://"),
        (("--binary", "x", "--check", "'"), 2, "--check"),
        (("--binary", "x", "--check", ""), 2, "--check is empty"),
        (("--binary", "x", "--check", "no-such-program --x"), 2, "--check no-such-program is no"),
        (("--binary", "x", "--check", "/etc/passwd"), 2, "--check /etc/passwd is no program"),
        (("--binary", "x", "--check-timeout", "0"), 2, "--check-timeout"),
        (("--binary", "x", "--service-version", "-1"), 2, "version -1"),
        ((), 2, "--binary"),
    ],
)
def test_what_cannot_be_started_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], exit_code: int, word: str
) -> None:
    with AgentProcess(tmp_path, *arguments) as agent:
        assert agent.exit_code() == exit_code
    assert word in agent.said
    assert "Traceback" not in agent.said


def test_the_command_does_not_wait_for_a_control_plane_and_its_status_is_not_lost(
    tmp_path: Path,
) -> None:
    nobody = ("--binary", "worker", "--url", "http://127.0.0.1:1")
    with AgentProcess(tmp_path, *nobody, *python("raise SystemExit(5)")) as agent:
        assert agent.exit_code() == 5


def test_a_control_plane_that_is_away_at_the_end_is_tried_for_an_interval(
    control_plane: ControlPlane, host: str, tmp_path: Path
) -> None:
    options = ("--binary", "worker", "--host", host, "--url", control_plane.url)
    with AgentProcess(tmp_path, *options, *SLEEP) as agent:
        becomes(control_plane, host, "reporting")
        control_plane.kill()
        os.kill(agent.child(), signal.SIGKILL)
        killed = time.monotonic()
        assert agent.exit_code() == 128 + signal.SIGKILL
        assert time.monotonic() - killed < 4
    assert agent.said.count("cannot tell that it left") == 1
    assert agent.said.count("left without the control plane knowing") == 1


def test_an_outage_of_the_control_plane_needs_no_restart_of_the_agent(
    control_plane: ControlPlane, host: str, tmp_path: Path
) -> None:
    options = ("--binary", "worker", "--host", host, "--url", control_plane.url)
    with AgentProcess(tmp_path, *options, *SLEEP) as agent:
        becomes(control_plane, host, "reporting")
        agent.child()
        control_plane.kill()
        until(lambda: "lost the control plane" in agent.said)
        control_plane.start()
        until(lambda: "recovered the control plane" in agent.said)
        becomes(control_plane, host, "reporting")
        assert agent.said.count("lost the control plane") == 1
        assert record(control_plane, host)["incarnation"] == 1


@pytest.mark.parametrize("form", ["{}/notify", "{}/a@b@c", "@servicegroup-test@{}"])
def test_the_service_manager_is_told(
    plane: ControlPlane, host: str, options: tuple[str, ...], tmp_path: Path, form: str
) -> None:
    """At a path, which may have an @ in it, or in the abstract namespace (F-11)."""
    address = form.format(tmp_path)
    said: set[str] = set()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if address.startswith("@") else address)
        manager.settimeout(0.1)

        def heard(field: str) -> bool:
            with contextlib.suppress(TimeoutError):
                said.update(manager.recv(4096).decode().split("\n"))
            return any(text.startswith(field) for text in said)

        shown = "import os, time; open('env', 'w').write(str(os.environ)); time.sleep(1000)"
        with AgentProcess(tmp_path, *options, *python(shown), NOTIFY_SOCKET=address) as agent:
            agent.child()
            until(lambda: heard("READY=1"))
            until(lambda: heard("STATUS=reporting, incarnation 1"))
            said.clear()
            until(lambda: heard("WATCHDOG=1"))
            assert not {text for text in said if text.startswith("READY")}
            until((tmp_path / "env").exists)
            agent.send(signal.SIGTERM)
            until(lambda: heard("STOPPING=1"))
            agent.exit_code()
    assert "NOTIFY_SOCKET" not in (tmp_path / "env").read_text()
