"""Nova lives in a virtual environment of its own, outside the repository, made on first use.

It stays apart because Nova pins what servicegroup does not (SQLAlchemy before 2.1), and it is kept
because making it takes half a minute and the network.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

NOVA = "34.0.0"
"""The version of Nova everything is compared with."""

PACKAGES = (f"nova=={NOVA}", "SQLAlchemy<2.1", "psycopg2-binary", "python-memcached", "pyuwsgi")
"""pyuwsgi is uWSGI as a wheel, so no compiler is needed."""

TIMEOUT = 900.0
"""Seconds the download and installation may take."""


class InstallError(Exception):
    """Nova could not be installed; the message is one sentence for people."""


def environment() -> Path:
    """Return the directory of a virtual environment with Nova in it.

    Makes it when there is none, or when another list of packages made it; of several processes
    that want it at once, one makes it. Raises InstallError.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "servicegroup-bench" / "nova-34"
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Written last, so an interrupted installation is not taken for a finished one.
    done = directory / "packages"
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = "\n".join(PACKAGES)
        if not done.exists() or done.read_text() != wanted:
            print(f"Installing Nova {NOVA} into {directory} ...", file=sys.stderr, flush=True)
            _install(directory)
            done.write_text(wanted)
    return directory


def _install(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    python = directory / "bin" / "python"
    if uv := shutil.which("uv"):
        _run(uv, "venv", "--quiet", "--python", sys.executable, directory)
        _run(uv, "pip", "install", "--quiet", "--python", python, *PACKAGES)
    else:
        _run(sys.executable, "-m", "venv", directory)
        _run(python, "-m", "pip", "install", "--quiet", *PACKAGES)


def _run(*command: str | Path) -> None:
    try:
        subprocess.run(command, check=True, timeout=TIMEOUT, stdout=sys.stderr)
    except subprocess.CalledProcessError as error:
        raise InstallError(
            f"Nova {NOVA} was not installed: {Path(command[0]).name} ended with"
            f" {error.returncode}; see its words above and check the network"
        ) from None
    except subprocess.TimeoutExpired:
        raise InstallError(
            f"Nova {NOVA} was not installed within {TIMEOUT:g} s; check the network and try again"
        ) from None
