"""What the documentation tells to install, followed to the letter in an environment of its own.

The published name stands for this checkout. Packages come from the index that pip is configured
with.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from docs import pages
from support.control_plane import ControlPlane

PATIENCE = 800.0
"""Seconds an installation may take."""

AT_ONCE = 3
"""Installations that are made at once."""

# A command of a block, or a command within a sentence; not a sentence about pip.
_LINE = re.compile(r"^\$ (?:\S*/)?(pip install .+)$|`(pip install [^`]+)`", re.MULTILINE)


class Line(msgspec.Struct, frozen=True):
    """A line of a page that installs something."""

    page: str
    text: str

    @property
    def extras(self) -> frozenset[str]:
        """What it asks for beside the base package."""
        named = re.search(r"\[([\w,]+)\]", self.text)
        return frozenset(named[1].split(",")) if named else frozenset()


def lines() -> list[Line]:
    """Return every such line of the pages that are for users."""
    names = [name for name in pages.names() if not name.startswith("docs/decisions/")]
    found = [(name, one) for name in names for one in _LINE.finditer(pages.page(name).text)]
    return [Line(name, one[1] or one[2]) for name, one in found]


class Installation:
    """A fresh virtual environment with what a line installs."""

    def __init__(self, directory: Path, line: Line) -> None:
        """Follow the line. Raises AssertionError with what pip printed."""
        self.directory = directory
        self.programs = directory / "bin"
        subprocess.run([sys.executable, "-m", "venv", directory], check=True, timeout=PATIENCE)
        self.succeeds("sh", "-c", line.text.replace("servicegroup[", f"{pages.ROOT}["))

    def succeeds(self, *command: str | Path) -> str:
        """Run a command as in a shell where the environment is active; return what it printed.

        Raises AssertionError when it fails. What the tests run from is not in its way.
        """
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            self.outside(*command),
            capture_output=True,
            cwd=pages.ROOT,
            env=os.environ | {"PATH": path},
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @staticmethod
    def outside(*command: str | Path) -> list[str]:
        """Return the command without the variables that lead to this checkout's source."""
        return ["env", "-u", "PYTHONPATH", "-u", "VIRTUAL_ENV", *map(str, command)]


class InstalledPlane(ControlPlane):
    """A control plane of an installation, started by the command that is on its PATH."""

    def __init__(self, installation: Installation, directory: Path) -> None:
        self._installation = installation
        super().__init__(f"sqlite:///{directory / 'register.sqlite'}", directory)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of the installed program."""
        program = self._installation.programs / "servicegroup"
        return Installation.outside(program, "--config-file", self.config, *arguments)


class Installations:
    """An installation for each distinct set of extras, all being made from the beginning."""

    def __init__(self, directory: Path, lines: Sequence[Line]) -> None:
        """Begin to follow the lines, some at a time: an index takes as long as the machine."""
        self._directory = directory
        wanted = {line.extras: line for line in lines}
        self._threads = ThreadPoolExecutor(AT_ONCE)
        self._made = {
            extras: self._threads.submit(Installation, directory / str(number), line)
            for number, (extras, line) in enumerate(wanted.items())
        }

    def of(self, line: Line) -> Installation:
        """Return where a line like this was followed. Raises AssertionError if it failed."""
        return self._made[line.extras].result()

    def close(self) -> None:
        """Begin no more, wait for those that are being made, and remove all: they are large."""
        self._threads.shutdown(cancel_futures=True)
        shutil.rmtree(self._directory)


def require_an_index(directory: Path) -> None:
    """Skip, or fail where CI=true, unless pip finds what every installation begins with."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    wanted = ("download", "--no-deps", "--dest", directory, "hatchling")
    done = subprocess.run([*pip, *wanted], capture_output=True, timeout=PATIENCE, check=False)
    if done.returncode == 0:
        return
    reason = "pip has no index to install from; configure one, such as with PIP_INDEX_URL"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(f"SKIPPED: {reason}")


def documented_keystone() -> tuple[Line, str]:
    """Return the line that installs what Keystone needs, and the configuration of its page."""
    name = "docs/security.md"
    (line,) = (line for line in lines() if line.page == name)
    (block,) = (
        block.text
        for block in pages.page(name).blocks
        if block.language == "ini" and "[keystone_authtoken]" in block.text
    )
    return line, block
