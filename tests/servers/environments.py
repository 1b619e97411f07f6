"""A virtual environment of its own for a server that comes as a Python package, made on first use.

It stays apart because such a server pins what servicegroup does not, and it is kept because making
it takes a minute and the network.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHECKOUT = Path(__file__).parents[2]

TIMEOUT = 900.0
"""Seconds the download and installation may take."""


class InstallError(Exception):
    """A server could not be installed; the message is one sentence for people."""


class Environment:
    """What there is to be in a directory of the checkout, and the way to get it there."""

    def __init__(
        self, name: str, directory: str, packages: Sequence[str], extras: str = ""
    ) -> None:
        """Name what it is for; with ``extras``, this checkout is in it too, editable."""
        self.directory = CHECKOUT / directory
        self._name = name
        self._packages = packages
        self._extras = extras

    def made(self) -> Path:
        """Return the directory, with everything in it.

        Makes it when there is none, or when another list of packages made it, and installs the
        checkout again when its pyproject.toml has changed. Of several processes that want it at
        once, one makes it. Raises InstallError.
        """
        with self.directory.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._once("packages", "\n".join(self._packages), self._make)
            if self._extras:
                project = (CHECKOUT / "pyproject.toml").read_text()
                self._once("checkout", project, self._install_checkout)
        return self.directory

    def _once(self, what: str, wanted: str, install: Callable[[], None]) -> None:
        """Install unless that was done for the same wish."""
        # Written last, so an interrupted installation is not taken for a finished one.
        done = self.directory / what
        if not done.exists() or done.read_text() != wanted:
            install()
            done.write_text(wanted)

    def _make(self) -> None:
        print(f"Installing {self._name} into {self.directory} ...", file=sys.stderr, flush=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        if uv := shutil.which("uv"):
            self._run(uv, "venv", "--quiet", "--python", sys.executable, self.directory)
        else:
            self._run(sys.executable, "-m", "venv", self.directory)
        self._install(*self._packages)

    def _install_checkout(self) -> None:
        # The packages are named again, so that nothing the checkout wants moves them.
        self._install("--editable", f"{CHECKOUT}[{self._extras}]", *self._packages)

    def _install(self, *what: str) -> None:
        python = self.directory / "bin" / "python"
        if uv := shutil.which("uv"):
            self._run(uv, "pip", "install", "--quiet", "--python", python, *what)
        else:
            self._run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                      *what)  # fmt: skip

    def _run(self, *command: str | Path) -> None:
        try:
            subprocess.run(command, check=True, timeout=TIMEOUT, stdout=sys.stderr)
        except subprocess.CalledProcessError as error:
            raise InstallError(
                f"{self._name} was not installed: {Path(command[0]).name} ended with"
                f" {error.returncode}; see its words above and check the network"
            ) from None
        except subprocess.TimeoutExpired:
            raise InstallError(
                f"{self._name} was not installed within {TIMEOUT:g} s; check the network and try"
                " again"
            ) from None
