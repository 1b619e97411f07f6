"""Nova lives in a virtual environment of its own, `.venv-nova` in the checkout, made on first use.

It stays apart because Nova pins what servicegroup does not (SQLAlchemy before 2.1), and it is kept
because making it takes a minute and the network. Beside Nova it holds this checkout, editable and
with the extras an operator takes, so Nova runs the layer as it is now. Run as a script, this file
makes the environment.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NOVA = "34.0.0"
"""The version of Nova that everything is compared with and tested in."""

PACKAGES = (
    f"nova=={NOVA}",
    "SQLAlchemy<2.1",
    "openstack-placement==16.0.0",
    "psycopg2-binary",
    "python-memcached",
    "pyuwsgi",  # uWSGI as a wheel, so no compiler is needed
    # What Nova's own tests import.
    *("ddt", "fixtures", "oslotest", "requests-mock", "testresources", "testscenarios"),
    *("testtools", "wsgi-intercept"),
)

EXTRAS = "nova,zookeeper,memcached,etcd,redis"

CHECKOUT = Path(__file__).parents[2]

DIRECTORY = CHECKOUT / ".venv-nova"

TIMEOUT = 900.0
"""Seconds the download and installation may take."""


class InstallError(Exception):
    """Nova could not be installed; the message is one sentence for people."""


def environment() -> Path:
    """Return the directory of a virtual environment with Nova and this checkout in it.

    Makes it when there is none, or when another list of packages made it, and installs the
    checkout again when its pyproject.toml has changed. Of several processes that want it at once,
    one makes it. Raises InstallError.
    """
    with DIRECTORY.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _once("packages", "\n".join(PACKAGES), _make)
        _once("checkout", (CHECKOUT / "pyproject.toml").read_text(), _install_checkout)
    return DIRECTORY


def _once(what: str, wanted: str, install: Callable[[], None]) -> None:
    """Install unless that was done for the same wish."""
    # Written last, so an interrupted installation is not taken for a finished one.
    done = DIRECTORY / what
    if not done.exists() or done.read_text() != wanted:
        install()
        done.write_text(wanted)


def _make() -> None:
    print(f"Installing Nova {NOVA} into {DIRECTORY} ...", file=sys.stderr, flush=True)
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    if uv := shutil.which("uv"):
        _run(uv, "venv", "--quiet", "--python", sys.executable, DIRECTORY)
    else:
        _run(sys.executable, "-m", "venv", DIRECTORY)
    _install(*PACKAGES)


def _install_checkout() -> None:
    # The packages are named again, so that nothing the checkout wants moves them.
    _install("--editable", f"{CHECKOUT}[{EXTRAS}]", *PACKAGES)


def _install(*what: str) -> None:
    python = DIRECTORY / "bin" / "python"
    if uv := shutil.which("uv"):
        _run(uv, "pip", "install", "--quiet", "--python", python, *what)
    else:
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what)


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


if __name__ == "__main__":
    environment()
