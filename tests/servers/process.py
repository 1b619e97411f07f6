"""One server is one child process that answers before a test sees it and never outlives the tests.

`Server` is what PostgreSQL, ZooKeeper and the others have in common. Its port and directory stay
the same from construction to `close()`, so a restarted server is found where it was, with the data
it keeps. `Ensemble` is several of them that are one. However the tests end (an interrupt, a
kill -9), a reaper process then kills what they started; run as a script, this file is that reaper.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeVar

from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PATIENCE = 60.0
"""Seconds a server may take to answer, or to stop, on a busy machine."""

LOOPBACK = "127.0.0.1"
# Below the range the kernel takes client ports from, so no connection grabs one in between.
PORTS = range(20000, 32000)


# The letters /proc has for the states of a thread.
DEAD = "ZX"
FROZEN = "Tt" + DEAD


class ServerError(Exception):
    """A server did not start, answer or stop; the message ends with its log, or the tail of it."""


_given: set[int] = set()


def _own_ports() -> Sequence[int]:
    """Give the ports of this pytest worker: no other takes one whose server is down for a test."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return PORTS[number :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]


def free_port() -> int:
    """Return a loopback TCP port nobody listens on; never the same twice in one process."""
    while True:
        port = random.choice(_own_ports())
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _given.add(port)
        return port


def unprivileged(*users: str) -> str | None:
    """Name the first of the users this machine has; None when the tests are not root anyway."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((user for user in users if user in known), "nobody")


def ask(port: int, question: bytes, answer: bytes = b"") -> bytes:
    """Send a question to a loopback port and return what came back: all, or up to `answer`.

    Raises OSError when nobody answers within five seconds.
    """
    received = b""
    with socket.create_connection((LOOPBACK, port), timeout=5) as connection:
        connection.sendall(question)
        while data := connection.recv(65536):
            received += data
            if answer and answer in received:
                break
    return received


def family(pid: int) -> list[int]:
    """List a process and its descendants, parents first; empty when it is gone."""
    parents = {int(entry.name): int(_stat(entry)[1]) for entry in Path("/proc").glob("[0-9]*")}
    found = [pid] if pid in parents else []
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def freeze(pid: int) -> None:
    """Hang a process (SIGSTOP); on return none of its threads runs any more."""
    signal_all(signal.SIGSTOP, [pid])
    until(partial(_all_are, FROZEN, pid), PATIENCE, 0.01, f"process {pid} is frozen")


def signal_all(number: signal.Signals, pids: Iterable[int]) -> None:
    """Send a signal to processes, some of which may be gone already."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _stat(process: Path) -> list[str]:
    """Read what /proc says of a process or thread: state, parent, ...; X is the state of none."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", *["0"] * 50]


def _birth(pid: int) -> str:
    """Return when a process started; with its id, that tells it from a later one's."""
    return _stat(Path(f"/proc/{pid}"))[19]


def _all_are(states: str, pid: int) -> bool:
    """Say whether every thread of a process is in one of the states, or gone."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return True
    return all(_stat(thread)[0] in states for thread in threads)


def _kill(pid: int) -> list[int]:
    """Kill a process and its descendants; return who they were."""
    pids = family(pid)
    signal_all(signal.SIGKILL, pids)
    return pids


class Reaper:
    """Keeps the directories of this process's servers; when the process ends, kills and cleans up.

    It is a child in a session of its own that reads the pids to kill from a pipe, and the end of
    the pipe is the end of the tests. PR_SET_PDEATHSIG would not do: it fires at the end of the
    thread that started a server, and a change of user clears it.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="servicegroup-servers-"))
        self.directory.chmod(0o755)  # a server may run as somebody else
        self._child = subprocess.Popen(
            [sys.executable, "-S", "-m", "servers.process", self.directory],
            stdin=subprocess.PIPE,
            start_new_session=True,
            env={"PYTHONPATH": str(Path(__file__).parents[1])},
            text=True,
        )
        atexit.register(self._child.communicate)

    def remember(self, pid: int) -> None:
        """Kill this process when the tests end, should it still be there."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{pid} {_birth(pid)}\n")
        self._child.stdin.flush()

    @staticmethod
    def run(directory: str) -> None:
        """Be the child."""
        for line in list(sys.stdin):
            pid, birth = line.split()
            if _birth(int(pid)) == birth:
                _kill(int(pid))
        shutil.rmtree(directory, ignore_errors=True)


reaper = cache(Reaper)


class Started:
    """As a context manager: started on the way in, closed on the way out."""

    def start(self) -> None:
        """Start, and return when it answers. Raises ServerError."""
        raise NotImplementedError

    def close(self) -> None:
        """End it at once and throw its data away."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Start."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


class Server(Started):
    """A server with a directory and a port of its own; a subclass says how it is run and asked."""

    name: ClassVar[str]
    """The server's own name, which is the scheme of `url` too."""
    package: ClassVar[str]
    """The Debian package that brings it."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_again: ClassVar[float] = PATIENCE
    """Seconds after which it is told once more; less for one that may not listen."""
    user: str | None = None
    """Who runs it; None is the user of the tests."""
    before: Sequence[str] = ()
    """Words before the command, such as `env` with variables for the server alone."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=reaper().directory))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = False

    # What a subclass says.

    @classmethod
    def installed(cls) -> bool:
        """Say whether this machine has the server's programs."""
        raise NotImplementedError

    def command(self) -> Sequence[str | Path]:
        """Return the command that runs the server in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Ask the server something in its own protocol; False or OSError is not yet."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make the directory ready for the first start; called once."""

    # What a test asks.

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """Where the server is, as a URL."""
        return f"{self.name}://{self.address}"

    @property
    def pid(self) -> int:
        """The process id of the running server. Raises ServerError when it does not run."""
        if not self.running:
            raise ServerError(f"{self.name} on port {self.port} does not run")
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """The file with everything the server has printed."""
        return self.directory / "log"

    # What a test does to it.

    def start(self) -> None:
        self.launch()
        self.wait_until_ready()

    def restart(self) -> None:
        """Stop the server in good order if it runs, then start it on the same port and data."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End the server in good order; nothing happens when it does not run."""
        if not self.running:
            return
        self.thaw()
        assert self._process is not None
        begun = time.monotonic()
        while self.running and time.monotonic() - begun < PATIENCE:
            os.kill(self._process.pid, self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self.stop_again)
        if self.running:
            self.kill()
            raise self._error("did not stop")

    def kill(self) -> None:
        """Crash the server: kill -9 to it and to its own children, all gone on return."""
        if not self.running:
            return
        assert self._process is not None
        killed = _kill(self._process.pid)
        self._process.wait()
        for pid in killed:
            until(partial(_all_are, DEAD, pid), PATIENCE, 0.01, f"{self.name} is gone")

    def freeze(self) -> None:
        """Hang the server (SIGSTOP, its children too): connected as before, it answers nothing."""
        pids = [self.pid]
        for pid in pids:  # the parent first, or it would have more children meanwhile
            freeze(pid)
            pids += [child for child in family(pid) if child not in pids]

    def thaw(self) -> None:
        """Let a frozen server go on (SIGCONT); nothing happens to one that is not frozen."""
        signal_all(signal.SIGCONT, family(self.pid))

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    # How it is done.

    def launch(self) -> None:
        """Start the process without waiting for an answer."""
        if self.running:
            raise ServerError(f"{self.name} on port {self.port} runs already")
        if not self._prepared:
            if self.user:
                shutil.chown(self.directory, self.user)
            self.prepare()
            self._prepared = True
        self._process = self._spawn([*self.before, *self.command()])

    def wait_until_ready(self) -> None:
        """Return when the server answers. Raises ServerError when it exits or takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if not self.running:
                raise self._error("exited while starting")
            if time.monotonic() > deadline:
                raise self._error("did not answer")
            time.sleep(0.02)

    def run(self, *command: str | Path) -> None:
        """Run a command to its end, as the server's user and into its log.

        Raises ServerError, with all of the log: the cause is printed long before the advice.
        """
        try:
            status = self._spawn(command).wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = -1
        if status:
            raise self._error(f"could not be set up, by {Path(command[0]).name}", whole=True)

    def _spawn(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                # The directory of temporary files may be closed to the server's user.
                env=os.environ | {"TMPDIR": str(self.directory)},
                start_new_session=True,  # the interrupt of a terminal is for the tests only
                user=self.user,
                group=pwd.getpwnam(self.user).pw_gid if self.user else None,
                extra_groups=[] if self.user else None,
            )
        reaper().remember(process.pid)
        return process

    def _answers(self) -> bool:
        try:
            return self.answers()
        except OSError:
            return False

    def _error(self, what: str, *, whole: bool = False) -> ServerError:
        lines = self.log.read_text(errors="replace").splitlines()
        shown = "\n".join(lines if whole else lines[-30:])
        return ServerError(f"{self.name} on port {self.port} {what}; the end of its log:\n{shown}")


S = TypeVar("S", bound=Server)


class Ensemble(Started, Generic[S]):
    """Several servers that are one: all are started before any is waited for."""

    def __init__(self, servers: Sequence[S]) -> None:
        self.servers = tuple(servers)

    @property
    def address(self) -> str:
        """Every server's host and port, with commas between."""
        return ",".join(server.address for server in self.servers)

    def start(self) -> None:
        """Start those that do not run and return when all answer. Raises ServerError."""
        for server in self.servers:
            if not server.running:
                server.launch()
        for server in self.servers:
            server.wait_until_ready()

    def restart(self) -> None:
        """Stop every server, then start them where they were."""
        for server in self.servers:
            server.stop()
        self.start()

    def freeze(self) -> None:
        """Hang every server."""
        for server in self.servers:
            server.freeze()

    def thaw(self) -> None:
        """Let all servers go on."""
        for server in self.servers:
            server.thaw()

    def close(self) -> None:
        for server in self.servers:
            server.close()


if __name__ == "__main__":
    Reaper.run(sys.argv[1])
