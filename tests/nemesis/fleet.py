"""The processes that have services: killed, frozen, stopped and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from nemesis.clock import Clock
from promises.history import Ended, Joined, Key, Recorder
from servers.process import PATIENCE, family, freeze, reaper, signal_all

TESTS = Path(__file__).parents[1]


class Process:
    """A process with services, named by ``keys``; each start of it is a life of all of them.

    ``words`` are the arguments of ``nemesis.process``; ``environment`` is how it reaches the world.
    """

    def __init__(
        self,
        name: str,
        keys: list[Key],
        directory: Path,
        environment: dict[str, str],
        *words: str,
    ) -> None:
        self.name = name
        self.keys = keys
        self.clock = Clock(directory / f"{name}.clock")
        self.history = directory / f"{name}.jsonl"
        self._record = Recorder(self.history)
        self._log = directory / f"{name}.log"
        self._environment = environment
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, of a process that was started and not ended."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it; nothing if it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        self.kill()
        own = {"NEMESIS_HISTORY": str(self.history)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.clock.words, sys.executable, "-m", "nemesis.process", *self._words],
                stdout=log,
                stderr=log,
                env=os.environ | own | self._environment,
                cwd=TESTS,
                start_new_session=True,
            )
        reaper().remember(self._process.pid)

    def kill(self) -> None:
        """Crash it, and its child if it has one; nothing if it does not run."""
        if self._process is None:
            return
        signal_all(signal.SIGKILL, [-self._process.pid])
        self._process.wait(PATIENCE)
        self._process = None
        self._bury()

    def stop(self) -> None:
        """Stop it in order, as whoever restarts a service does."""
        os.kill(self.pid, signal.SIGTERM)
        assert self._process is not None
        self._process.wait(PATIENCE)
        self.kill()

    def freeze(self) -> None:
        """Hang it (SIGSTOP)."""
        freeze(self.pid)

    def thaw(self) -> None:
        """Let it go on."""
        signal_all(signal.SIGCONT, [self.pid])

    def children(self) -> list[int]:
        """Return the process ids of its children."""
        return family(self.pid)[1:]

    def lives(self) -> dict[Key, Joined]:
        """Return the newest registration of each of its services, as far as it has any."""
        return {(life.host, life.binary): life for life in self._told() if isinstance(life, Joined)}

    def _bury(self) -> None:
        """Write down that all its lives are over which had no end yet."""
        at = time.monotonic()
        told = self._told()
        over = {(one.uuid, one.incarnation) for one in told if isinstance(one, Ended)}
        for life in told:
            if (life.uuid, life.incarnation) not in over:
                self._record(
                    Ended(
                        host=life.host,
                        binary=life.binary,
                        uuid=life.uuid,
                        incarnation=life.incarnation,
                        how="killed",
                        at=at,
                    )
                )

    def _told(self) -> list[Joined | Ended]:
        lines = self.history.read_bytes().splitlines(keepends=True)
        decode = msgspec.json.Decoder(Joined | Ended).decode
        kinds = (b'"type":"Joined"', b'"type":"Ended"')
        whole = (line for line in lines if line.endswith(b"\n"))
        return [decode(line) for line in whole if any(kind in line for kind in kinds)]
