"""A driver and its backend in one file on disk: small, correct, and made to be broken on purpose.

The backend is a directory with a JSON file under a lock, shared between handles and processes. Its
clock is the machine's monotonic one. It forgets everything at a restart, and says for one time to
live after a loss or a freeze that it does not know who is missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servicegroup.driver import Driver, Options, Watcher
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

Lives = dict[str, float]
"""Expiry by incarnation; JSON has no integer keys."""

NEVER = float("-inf")
"""Longer ago than any time to live, also on a machine that was started a minute ago."""


class ReferenceOptions(Options, frozen=True, kw_only=True):
    directory: str


class Reference(Driver):
    """Keeps the whole contract."""

    name = "reference"
    Options = ReferenceOptions
    monotonic: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, options: ReferenceOptions) -> None:
        super().__init__(options)
        self.directory = Path(options.directory)

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        self.check_writable()
        with self.register() as register:
            register["ttl"] = ttl
            self.lives(register, member)[str(incarnation)] = self.monotonic() + ttl

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        with self.register() as register:
            lives = self.lives(register, member)
            for life in list(lives):
                if incarnation is None or life == str(incarnation):
                    del lives[life]

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        try:
            with self.register() as register:
                return {member: self.judge(register, member) for member in members}
        except DriverUnavailable as error:
            unknown = Presence(PresenceState.UNKNOWN, detail=str(error))
            return dict.fromkeys(members, unknown)

    def prove(self, member: Member) -> None:
        self.check_writable()

    def watch(self, callback: Watcher) -> None:
        pass

    def detection_time(self, ttl: float) -> float:
        return ttl

    def warnings(self) -> list[str]:
        return []

    def shared_options(self) -> dict[str, Any]:
        return {"directory": str(self.directory)}

    def close(self) -> None:
        pass

    # What the broken ones break.

    def key(self, member: Member) -> str:
        return json.dumps([member.group, member.host])

    def lives(self, register: dict[str, Any], member: Member) -> Lives:
        lives: Lives = register["members"].setdefault(self.key(member), {})
        return lives

    def judge(self, register: dict[str, Any], member: Member) -> Presence:
        now = self.monotonic()
        living = {int(life) for life, until in self.lives(register, member).items() if until > now}
        if living:
            return Presence(PresenceState.PRESENT, frozenset(living))
        if self.recovering(register):
            return Presence(PresenceState.UNKNOWN, detail="recovering")
        return Presence(PresenceState.ABSENT)

    def check_writable(self) -> None:
        if (self.directory / "full").exists():
            raise DriverUnavailable("The disk of the reference is full.")

    def recovering(self, register: dict[str, Any]) -> bool:
        return bool(self.monotonic() < register["doubted"] + register["ttl"])

    @contextlib.contextmanager
    def register(self) -> Iterator[dict[str, Any]]:
        if (self.directory / "frozen").exists():
            raise DriverUnavailable("The backend does not answer.")
        try:
            file = (self.directory / "register").open("r+")
        except OSError as error:
            raise DriverUnavailable(f"The backend cannot be reached: {error}.") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            register = json.load(file)
            yield register
            file.seek(0)
            file.truncate()
            json.dump(register, file)
            file.flush()


class Directory:
    """The reference's backend; ``monotonic`` is its clock."""

    def __init__(self, directory: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.directory = directory
        self.monotonic = monotonic
        (directory / "register").write_text(json.dumps({"members": {}, "ttl": 0, "doubted": NEVER}))

    def freeze(self) -> None:
        (self.directory / "frozen").touch()

    def thaw(self) -> None:
        with (self.directory / "register").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            register = json.load(file) | {"doubted": self.monotonic()}
            file.seek(0)
            file.truncate()
            json.dump(register, file)
            file.flush()
            (self.directory / "frozen").unlink()

    words = "The disk of the reference is full"

    def refuse(self) -> None:
        (self.directory / "full").touch()

    def accept(self) -> None:
        (self.directory / "full").unlink(missing_ok=True)

    def restart(self) -> None:
        self.empty()

    def empty(self) -> None:
        with (self.directory / "register").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            register = json.load(file) | {"members": {}, "doubted": self.monotonic()}
            file.seek(0)
            file.truncate()
            json.dump(register, file)
            file.flush()
