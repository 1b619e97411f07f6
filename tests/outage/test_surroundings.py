"""What a container takes away: a name for the user, a home, an init, directories (F-11)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from servers.process import PATIENCE, family, signal_all
from support.control_plane import ControlPlane
from support.waiting import until

pytestmark = pytest.mark.long

NOBODYS = 54321
"""A user id that no machine has a name for."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="users and namespaces need root")


def bare(**more: str) -> dict[str, str]:
    """Return an environment that names neither a user nor a home."""
    without = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_STATE_HOME", "STATE_DIRECTORY")
    return {name: value for name, value in os.environ.items() if name not in without} | more


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane that was not started."""
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path)
    yield plane
    plane.stop()


def run(command: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as the user without a name."""
    namespace = ["unshare", "--user", f"--map-user={NOBODYS}", f"--map-group={NOBODYS}"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a namespace of users cannot be made here")
    return subprocess.run(
        [*namespace, *command], env=environment, cwd="/",
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_user_without_a_name_edits_in_process_and_is_named_by_number(plane: ControlPlane) -> None:
    assert run(plane.command("db", "upgrade"), bare()).returncode == 0
    plane.start()
    plane.request("POST", "/v1/services", {"host": "n1", "binary": "nova-compute"})
    done = run(plane.command("service", "force-down", "n1", "nova-compute"), bare())
    assert done.returncode == 0, done.stderr
    assert plane.services()["n1", "nova-compute"]["forced_down"]
    [event] = plane.request("GET", "/v1/events?kind=service-force-down")[2]["events"]
    assert event["actor"].startswith(f"{NOBODYS}@")


def test_who_has_no_home_needs_none_for_a_database_elsewhere(
    plane: ControlPlane, tmp_path: Path
) -> None:
    done = run(plane.command("db", "upgrade"), bare())
    assert done.returncode == 0, done.stderr
    done = run(plane.command("doctor"), bare())
    assert "Traceback" not in done.stdout + done.stderr
    assert "without contradictions" in done.stdout
    plane.config.write_text("")
    done = run(plane.command("serve"), bare())
    assert done.returncode == 2
    assert done.stderr == (
        f"Error: User {NOBODYS} has no home for the state directory; set [database] connection, or"
        " STATE_DIRECTORY.\n"
    )


@contextmanager
def first_process(
    directory: Path, command: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a command as process 1, which somebody left an orphan to; give it with its id here."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    left = directory / "orphan"
    shell = f'(sleep 0.2 & echo $! > {left}); exec "$@"'
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", shell, "sh"]
    with (directory / "first.log").open("wb") as log:
        process = subprocess.Popen([*words, *command], stdout=log, stderr=log, cwd=directory)
    try:
        until(lambda: left.exists() or process.poll() is not None, PATIENCE)
        if not left.exists():
            pytest.skip("a namespace of processes cannot be made here")
        yield process, family(process.pid)[1]
    finally:
        signal_all(signal.SIGKILL, family(process.pid))
        process.wait(PATIENCE)


def names(pid: int) -> list[str]:
    """Return what runs below a process, zombies too."""
    found = []
    for one in family(pid)[1:]:
        try:
            found.append(Path(f"/proc/{one}/comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            found.append("gone")
    return sorted(found)


@needs_root
def test_a_control_plane_is_process_1(plane: ControlPlane, tmp_path: Path) -> None:
    """It waits for orphans, and stops in order when it is told to."""
    subprocess.run(plane.command("db", "upgrade"), check=True, timeout=60)
    with first_process(tmp_path, plane.command("serve")) as (process, first):
        until(lambda: is_ready(plane), PATIENCE, what="ready")
        until(lambda: "sleep" not in names(process.pid), PATIENCE, what="no zombie")
        os.kill(first, signal.SIGTERM)
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM


@needs_root
def test_an_agent_is_process_1(plane: ControlPlane, tmp_path: Path) -> None:
    """It waits for the orphans of its command, and passes the command's status on."""
    plane.start()
    agent = [sys.executable, "-m", "servicegroup", "agent", "--url", plane.url, "--host", "h1"]
    orphan = "sh -c 'sleep 0.2 &'; trap 'exit 7' TERM; touch up; tail -f /dev/null & wait"
    command = [*agent, "--binary", "worker", "--", "sh", "-c", orphan]
    with first_process(tmp_path, command) as (process, first):
        until((tmp_path / "up").exists, PATIENCE)
        until(lambda: ("h1", "worker") in plane.services(), PATIENCE, what="joined")
        until(lambda: "sleep" not in names(process.pid), PATIENCE, what="no zombie")
        os.kill(first, signal.SIGTERM)
        assert process.wait(PATIENCE) == 7
    assert plane.services()["h1", "worker"]["verdict"]["reason"] == "left"


def is_ready(plane: ControlPlane) -> bool:
    """Tell whether a control plane that somebody else started is ready."""
    try:
        return plane.request("GET", "/readyz")[0] == 200
    except urllib3.exceptions.HTTPError:
        return False


@needs_root
@pytest.mark.parametrize(
    ("line", "shown"), [("::1 only.example", "[::1]"), ("127.0.0.1 only.example", "127.0.0.1")]
)
def test_bind_takes_a_name_by_whatever_address_it_has(
    plane: ControlPlane, tmp_path: Path, line: str, shown: str
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(f"{line}\n")
    plane.config.write_text(
        plane.config.read_text().replace("bind = 127.0.0.1", "bind = only.example")
        + "[api]\ninsecure = true\n"
    )
    subprocess.run(plane.command("db", "upgrade"), check=True, timeout=60)
    with first_process(
        tmp_path, ["sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh",
                   *plane.command("serve")]
    ) as (process, _):  # fmt: skip
        log = tmp_path / "first.log"
        until(lambda: f"listens on http://{shown}:" in log.read_text(), PATIENCE, what="it listens")
        process.kill()


@needs_root
def test_a_read_only_root_is_enough_where_the_database_is_elsewhere(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """Neither control plane nor agent writes to any directory that was not named."""
    subprocess.run(plane.command("db", "upgrade"), check=True, timeout=60)
    script = (
        f"for at in $(findmnt -rno TARGET -t nosysfs,noproc | sort -r); do"
        f' mount -o remount,bind,ro "$at" 2>/dev/null; done; mount --bind {tmp_path} {tmp_path};'
        f' mount -o remount,bind,rw {tmp_path}; ! touch /var/tmp/x 2>/dev/null && exec "$@"'
    )
    with first_process(tmp_path, ["sh", "-c", script, "sh", *plane.command("serve")]):
        until(lambda: is_ready(plane), PATIENCE, what=(tmp_path / "first.log").read_text())
        assert plane.request("POST", "/v1/services", {"host": "n1", "binary": "b"})[0] == 200
