"""On a real terminal: drawn tables, a question before deleting, and a watch that ends cleanly."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
from collections.abc import Iterator

import pytest

from servicegroup.errors import NotFound
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from support.control_plane import ControlPlane
from support.waiting import until

from .conftest import Desk

pytestmark = pytest.mark.long


class Terminal:
    """A command with somebody sitting at its terminal."""

    def __init__(self, desk: Desk, *words: str) -> None:
        self._master, slave = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            desk.command(*words),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**desk.environment, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"},
            cwd=desk.directory,
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def look(self) -> str:
        """Return all that was written to the screen so far."""
        with contextlib.suppress(BlockingIOError, OSError):  # nothing yet, or hung up
            while data := os.read(self._master, 65536):
                self.seen += data.decode()
        return self.seen

    def answer(self, text: str) -> None:
        """Type a line."""
        os.write(self._master, text.encode() + b"\n")

    def wait_for(self, text: str) -> str:
        """Wait until the text is on the screen, and return the screen."""
        until(lambda: text in self.look(), timeout=20, what=f"{text!r} in {self.seen!r}")
        return self.seen

    def end(self) -> int:
        """Wait for the command's end and return its exit code."""

        def ended() -> bool:
            self.look()  # a screen nobody reads would hold it up
            return self.process.poll() is not None

        until(ended, timeout=20, what="the end of the command")
        self.look()
        return self.process.returncode

    def close(self) -> None:
        """Hang up."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextlib.contextmanager
def terminal(desk: Desk, *words: str) -> Iterator[Terminal]:
    """Give a running command at a terminal; hung up afterwards."""
    one = Terminal(desk, *words)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.usefixtures("fleet")
def test_a_table_is_drawn_and_no_markup_is_obeyed(desk: Desk) -> None:
    with terminal(desk, "service", "list", "--why", "-c", "Host", "-c", "State") as one:
        assert one.end() == 0
    assert "┃" in one.seen
    assert "[bold]markup[/bold]" in one.seen
    assert "\\x1b[31m\\x9b2J" in one.seen
    assert "\x9b" not in one.seen
    assert "\x1b[32mup" in one.seen


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(("answer", "code", "gone"), [("n", 1, False), ("y", 0, True)])
def test_delete_asks_first(
    desk: Desk, group: ServiceGroup, answer: str, code: int, gone: bool
) -> None:
    with terminal(desk, "service", "delete", "cmp1", "nova-compute") as one:
        screen = one.wait_for("[y/N]")
        assert "Delete nova-compute on host cmp1 (" in screen
        assert "which is up?" in screen
        one.answer(answer)
        assert one.end() == code
    if gone:
        with pytest.raises(NotFound):
            group.find("cmp1", "nova-compute")
    else:
        assert group.find("cmp1", "nova-compute")


@pytest.mark.usefixtures("fleet")
def test_watch_redraws_and_ends_cleanly(desk: Desk, group: ServiceGroup) -> None:
    with terminal(desk, "service", "list", "--watch", "-c", "Host", "-c", "State") as one:
        one.wait_for("cmp1")
        late = group.join("late", "nova-compute")
        group.report([Report(late.uuid, late.incarnation)])
        one.wait_for("late")
        one.process.send_signal(signal.SIGINT)
        assert one.end() == 0
    assert "Traceback" not in one.seen
    assert one.seen.rindex("\x1b[?25h") > one.seen.rindex("\x1b[?25l"), "the cursor is back"


def test_watch_goes_on_through_an_outage_and_says_so(
    desk: Desk, control_plane: ControlPlane
) -> None:
    words = ("--url", control_plane.url, "service", "list", "--watch", "-c", "Binary")
    with terminal(desk, *words) as one:
        one.wait_for("servicegroup")
        control_plane.kill()
        drawn = len(one.wait_for("Not current:"))
        control_plane.start()

        def is_current() -> bool:
            latest = one.look()[drawn:].rpartition("Binary")
            return bool(latest[1]) and "servicegroup" in latest[2] and "Not" not in latest[2]

        until(is_current, timeout=20, what="a current table")
        one.process.send_signal(signal.SIGINT)
        assert one.end() == 0


@pytest.mark.usefixtures("fleet")
def test_watch_into_a_pipe_prints_one_table_after_the_other(desk: Desk) -> None:
    with subprocess.Popen(
        desk.command("service", "list", "--watch", "-c", "Host"),
        env=desk.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        table = ["Host\n", "cmp1\n", "cmp2\n", "ctl\n", "\n"]
        assert [process.stdout.readline() for _ in range(10)] == table * 2
        process.send_signal(signal.SIGINT)
        rest, complaint = process.communicate(timeout=20)
    assert (process.returncode, rest.strip(), complaint) == (0, "", "")
