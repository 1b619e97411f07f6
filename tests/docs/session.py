"""A reader who follows a page: one shell, command after command, and a look at what it prints.

Output is as written when every line written is a line printed, and nothing else was. ``…`` stands
for any text, and a line of its own for any lines. Ids, stamps and durations are whatever they are.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import msgspec

PATIENCE = 150.0
"""Seconds a command may take, and seconds until what it reads has to be as written."""

# What only looks may be asked again: the page says "after a minute", and the test does not sleep.
_READS = re.compile(
    r"\b(service (list|show|history)|events|cat|doctor|driver (list|compare|ready))\b"
    r"|\bcurl -s (?!-X)"
)

_VALUES = {
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "UUID",
    r"\d{4}-\d\d-\d\d[T ][\d:.]+": "STAMP",
    r"\d+(\.\d+)? (ms|min|s|h|d)\b( \d+ (s|min|h))?": "DURATION",
    r"0x[0-9a-f]+": "NUMBER",
    r"\s+": " ",
    r"-{3,}": "---",
}


class Step(msgspec.Struct, frozen=True):
    """A command and the lines it is said to print; none: whatever it prints."""

    command: str
    output: tuple[str, ...] = ()


def steps(text: str) -> Iterator[Step]:
    """Return the steps of a console block: ``$ `` begins a command, ``> `` continues it."""
    command = ""
    output: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield Step(command, tuple(output))
            command, output = line[2:], []
        elif line.startswith("> ") and not output:
            command += "\n" + line[2:]
        else:
            assert command, f"{line!r} is printed by no command; begin a command with $"
            output.append(line)
    yield Step(command, tuple(output))


def normal(line: str) -> str:
    """Return a line with every value that differs from run to run written alike."""
    for pattern, word in _VALUES.items():
        line = re.sub(pattern, word, line)
    return line.strip()


def agrees(written: tuple[str, ...], printed: str) -> bool:
    """Tell whether what was printed is as written, in whatever order its lines came."""
    lines = [normal(line) for line in printed.splitlines() if line.strip()]
    wanted = [normal(line) for line in written if line.strip()]
    more = "…" in wanted
    for line in (line for line in wanted if line != "…"):
        pattern = ".*".join(map(re.escape, line.split("…")))
        found = next((one for one in lines if re.fullmatch(pattern, one)), None)
        if found is None:
            return False
        lines.remove(found)
    return more or not lines


class Session:
    """A shell in a directory; ``elsewhere`` maps addresses of the page to those of the test."""

    def __init__(
        self, directory: Path, environment: Mapping[str, str], elsewhere: Mapping[str, str]
    ) -> None:
        self._directory = directory
        self._elsewhere = elsewhere
        self._count = 0
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=directory,
            env={**os.environ, **environment},
            start_new_session=True,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the shell and everything it started."""
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()

    def write(self, name: str, text: str) -> None:
        """Write a file the page names."""
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(text))

    def follow(self, step: Step) -> None:
        """Run a command until it prints what is written; once, unless it only reads."""
        deadline = time.monotonic() + PATIENCE
        while True:
            status, printed = self.run(step.command, deadline)
            fails = status != 0 and not any("Error" in line for line in step.output)
            if not fails and (not step.output or agrees(step.output, printed)):
                return
            again = _READS.search(step.command) and time.monotonic() < deadline
            wanted = "\n".join(step.output) or "status 0"
            assert again, (
                f"{step.command}\nended with status {status} and printed\n{printed}\n"
                f"where the page has\n{wanted}"
            )
            time.sleep(0.2)

    def run(self, command: str, deadline: float) -> tuple[int, str]:
        """Return the status of one command and what it printed until then, errors included."""
        self._count += 1
        script = self._directory / f".step-{self._count}"
        output = self._directory / f".step-{self._count}.out"
        script.write_text(self._here(command) + "\n")
        stdin, stdout = self._shell.stdin, self._shell.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f". {script} >{output} 2>&1 </dev/null; echo $?\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], max(1.0, deadline - time.monotonic()))
        printed = output.read_text() if output.exists() else ""
        for here, there in self._elsewhere.items():
            printed = _moved(printed, there, here)
        assert ready, f"{command}\ndid not end in time and printed\n{printed}"
        return int(stdout.readline()), printed

    def _here(self, text: str) -> str:
        for here, there in self._elsewhere.items():
            text = _moved(text, here, there)
        return text


def _moved(text: str, address: str, another: str) -> str:
    """Name another address; a port that only begins with this one's is none of its own."""
    return re.sub(rf"{re.escape(address)}(?!\d)", lambda _: another, text)
