"""What the probe found, in a file of this host: written whole, read by everybody who judges there.

A file needs no backend, so it serves Nova's own drivers too, and what stands in it ends by itself:
who judges believes an answer for ``keep`` seconds by the host's clock. A file that is missing, old
or broken, and a clock that was set, mean that nothing is known, and that accuses nobody.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from servicegroup.decoding import decoder
from servicegroup.errors import ConfigError
from servicegroup.nova.rpc.options import RpcSettings
from servicegroup.protection import Threshold, is_crowd
from servicegroup.rpc import Rpc, RpcState

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the file of a process that judges."""

SUSPECT = "so many are deaf at once that the broker is suspect"


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a question; stamps are seconds since 1970 by this host's clock.

    ``place`` is what services have in common that are deaf together: cell and group. ``took`` is
    how many seconds the answer took, None where there was none; then ``deaf_since`` is when the
    first of the unanswered questions was asked, and ``detail`` says what was found.
    """

    place: str
    asked_at: float
    took: float | None = None
    deaf_since: float | None = None
    detail: str = ""


_Answers = dict[str, Answer]
"""By the uuid of the service."""


class Results:
    """The file; processes and threads share it, and a reader never sees half of a change."""

    def __init__(self, path: str, keep: float, clock: Callable[[], float] = time.time) -> None:
        """Believe what is in the file for ``keep`` seconds, by ``clock``; opens nothing."""
        self.path = Path(path)
        self.problem = ""
        self._keep = keep
        self._clock = clock

    def read(self) -> _Answers:
        """Return what is known now; ``problem`` says why the file could not be used, if so."""
        self.problem = ""
        try:
            found = decoder(_Answers).decode(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeError) as error:
            self.problem = f"{self.path} cannot be used: {error}"
            return {}
        return {uuid: one for uuid, one in found.items() if self.is_known(one)}

    def is_known(self, answer: Answer) -> bool:
        """Tell whether an answer still counts: neither too old, nor from another clock's time."""
        return 0.0 <= self._clock() - answer.asked_at <= self._keep

    def add(self, answers: Mapping[str, Answer]) -> None:
        """Keep these beside what is known of others. Raises ConfigError where that cannot be."""
        try:
            with open(f"{self.path}.lock", "w", opener=_no_link) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._replace({**self.read(), **answers})
        except OSError as error:
            raise ConfigError(
                f"[rpc] results = {self.path} cannot be written: {error.strerror}; run the probe as"
                " a user who may, or name another file."
            ) from error

    def _replace(self, answers: _Answers) -> None:
        handle, name = tempfile.mkstemp(prefix=self.path.name, dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(answers))
                os.fchmod(handle, 0o644)  # whoever judges reads it, as another user perhaps
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _no_link(path: str, flags: int) -> int:
    """Open a file, which nobody can have replaced by a link to another."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


class Told:
    """The file's answers as evidence, at most a second old; never raises."""

    def __init__(
        self,
        settings: RpcSettings,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Judge by the file that ``[rpc]`` names, when it is first asked."""
        self.settings = settings
        self.results = Results(settings.results, settings.keep, clock)
        self._clock = clock
        self._monotonic = monotonic
        self._looked_at = float("-inf")
        self._seen: tuple[int, int] | None = None
        self._answers: _Answers = {}
        self._suspect: frozenset[str] = frozenset()

    def __call__(self, uuid: str, began: float | None = None) -> Rpc | None:
        """Return what is known of a service's answers to RPC, None where that is nothing.

        ``began`` is when the process began that is there now, in seconds since 1970, if that is
        known: whoever was asked before is another life of it.
        """
        if self._monotonic() - self._looked_at > LOOK_INTERVAL:
            self._look()
        answer = self._answers.get(uuid)
        if answer is None or not self.results.is_known(answer):
            return None
        if began is not None and began > answer.asked_at:
            return None
        age = self._clock() - answer.asked_at
        if answer.deaf_since is None:
            return Rpc(RpcState.ANSWERS, age)
        suspect = answer.place in self._suspect
        detail = f"{answer.detail}; {SUSPECT}" if suspect else answer.detail
        decides = self.settings.deaf_is_down and not suspect
        deaf_for = max(age, self._clock() - answer.deaf_since)
        return Rpc(RpcState.DEAF, age, deaf_for, detail, decides)

    def _look(self) -> None:
        self._looked_at = self._monotonic()
        try:
            found = self.results.path.stat()
        except OSError:
            self._seen, self._answers = None, {}
            return
        seen = (found.st_ino, found.st_mtime_ns)
        if seen != self._seen:  # each change is a new file
            answers = self.results.read()
            self._suspect = suspects(answers)
            self._seen, self._answers = seen, answers


def suspects(answers: Mapping[str, Answer]) -> frozenset[str]:
    """Return the places where so many are deaf that they accuse the broker (AND-2)."""
    deaf = Counter(one.place for one in answers.values() if one.deaf_since is not None)
    asked = Counter(one.place for one in answers.values())
    return frozenset(
        place for place, lost in deaf.items() if is_crowd(lost, asked[place] - lost, Threshold())
    )
