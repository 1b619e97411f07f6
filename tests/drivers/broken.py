"""Drivers that break one promise each, in ways real ones have; the contract must catch them all."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from drivers.reference import NEVER, Lives, Reference, ReferenceOptions
from servicegroup.driver import Capabilities, GroupPresence
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

ABSENT = Presence(PresenceState.ABSENT)


class NeverExpires(Reference):
    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        super().heartbeat(member, incarnation, 1e6)

    def recovering(self, register: dict[str, Any]) -> bool:
        return False


class ExpiresEarly(Reference):
    """MC-1: a time to live that a coarse clock shortens."""

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        super().heartbeat(member, incarnation, ttl * 0.8)


class IgnoresLeave(Reference):
    def leave(self, member: Member, incarnation: int | None = None) -> None:
        pass


class LeavesOnlyWhatItJoined(Reference):
    """Only the handle that joined can free the member."""

    def __init__(self, options: ReferenceOptions) -> None:
        super().__init__(options)
        self.joined: set[Member] = set()

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        self.joined.add(member)
        super().heartbeat(member, incarnation, ttl)

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        if member in self.joined:
            super().leave(member, incarnation)


class RaisesWhenNothingIsFreed(Reference):
    def leave(self, member: Member, incarnation: int | None = None) -> None:
        with self.register() as register:
            if not self.lives(register, member):
                raise DriverUnavailable("No such member.")
        super().leave(member, incarnation)


class CountsHeartbeats(Reference):
    """Three joins need three leaves."""

    def __init__(self, options: ReferenceOptions) -> None:
        super().__init__(options)
        self.count = 0

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        self.count += 1
        super().heartbeat(member, incarnation, ttl * 1000)

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        self.count -= 1
        if self.count <= 0:
            super().leave(member, incarnation)


class JoinsOnce(Reference):
    """ZK-2: later heartbeats refresh, and refresh nothing when the member is gone."""

    def __init__(self, options: ReferenceOptions) -> None:
        super().__init__(options)
        self.joined: set[tuple[Member, int]] = set()

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        with self.register() as register:
            now = time.monotonic()
            gone = self.lives(register, member).get(str(incarnation), 0) < now
        if gone and (member, incarnation) in self.joined:
            return
        self.joined.add((member, incarnation))
        super().heartbeat(member, incarnation, ttl)


class TakesRemainsForItself(Reference):
    """ZK-1: something is there already, so it must be this process that has joined."""

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        with self.register() as register:
            now, lives = time.monotonic(), self.lives(register, member)
            others = [life for life in lives if life != str(incarnation) and lives[life] > now]
        if not others:
            super().heartbeat(member, incarnation, ttl)


class LastWriterWins(Reference):
    """An older incarnation's heartbeat replaces the newer one's."""

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        super().leave(member)
        super().heartbeat(member, incarnation, ttl)


class NamesTheNewestEverSeen(Reference):
    """An older incarnation's heartbeat revives a newer one that left."""

    def __init__(self, options: ReferenceOptions) -> None:
        super().__init__(options)
        self.newest: dict[Member, frozenset[int]] = {}

    def judge(self, register: dict[str, Any], member: Member) -> Presence:
        answer = super().judge(register, member)
        if answer.state is not PresenceState.PRESENT:
            return answer
        seen = self.newest.get(member, frozenset()) | answer.incarnations
        self.newest[member] = frozenset({max(seen)})
        return Presence(PresenceState.PRESENT, self.newest[member])


class LeaveEvictsEverybody(Reference):
    """A late leave of an older incarnation, or of none that joined, evicts the living one."""

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        super().leave(member)


class LeaveForgetsOnlyTheOldest(Reference):
    def leave(self, member: Member, incarnation: int | None = None) -> None:
        with self.register() as register:
            oldest = min(map(int, self.lives(register, member)), default=None)
        if oldest is not None:
            super().leave(member, oldest if incarnation is None else incarnation)


class MixesGroups(Reference):
    def key(self, member: Member) -> str:
        return member.host


class GluesNames(Reference):
    def key(self, member: Member) -> str:
        return f"{member.group}/{member.host}"


class FoldsCase(Reference):
    def key(self, member: Member) -> str:
        return super().key(Member(member.group, member.host.casefold()))


class StripsBlanks(Reference):
    def key(self, member: Member) -> str:
        return super().key(Member(member.group, member.host.strip()))


class CutsLongNames(Reference):
    def key(self, member: Member) -> str:
        return super().key(Member(member.group, member.host[:250]))


class RefusesSlashes(Reference):
    def key(self, member: Member) -> str:
        if "/" in member.host:
            raise DriverUnavailable("No such path.")
        return super().key(member)


class OmitsTheAbsent(Reference):
    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        answers = super().presence(members)
        return {one: a for one, a in answers.items() if a.state is not PresenceState.ABSENT}


class ListsNobody(Reference):
    def list_group(self, group: str) -> GroupPresence:
        return GroupPresence({}, ABSENT)


class BelievesInEverybody(Reference):
    def judge(self, register: dict[str, Any], member: Member) -> Presence:
        return Presence(PresenceState.PRESENT, frozenset({1}))


class AsksOneByOne(Reference):
    def judge(self, register: dict[str, Any], member: Member) -> Presence:
        time.sleep(0.0001)
        return super().judge(register, member)


class AnswersFromItsOwnMemory(Reference):
    def __init__(self, options: ReferenceOptions) -> None:
        super().__init__(options)
        self.memory: dict[str, Lives] = {}

    def lives(self, register: dict[str, Any], member: Member) -> Lives:
        return self.memory.setdefault(self.key(member), {})


class SharesItsScratchpad(Reference):
    """Not safe between threads: a question is kept on the handle while it is answered."""

    asked: Iterable[Member] = ()

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        self.asked = list(members)
        time.sleep(0.001)
        return super().presence(self.asked)


class TellsAgentsNothing(Reference):
    def shared_options(self) -> dict[str, Any]:
        return {"directory": "/nonexistent"}


class TellsAgentsObjects(Reference):
    def shared_options(self) -> dict[str, Any]:
        return {"directory": self.directory, "lock": threading.Lock()}


class OnlyDeclaresToPush(Reference):
    capabilities = Capabilities(pushes=True)


class ClosesOnce(Reference):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class ClosesItsParent(Reference):
    """ZK-14: what a forked child closes was the parent's."""

    def __init__(self, options: ReferenceOptions) -> None:
        super().__init__(options)
        self.pid = os.getpid()
        (self.directory / str(id(self))).touch()

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        if not (self.directory / str(id(self))).exists():
            raise DriverUnavailable("The session was closed.")
        super().heartbeat(member, incarnation, ttl)

    def close(self) -> None:
        (self.directory / str(id(self))).unlink(missing_ok=True)


class TakesErrorsForMisses(Reference):
    """MC-6."""

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        answers = super().presence(members)
        recovering = Presence(PresenceState.UNKNOWN, detail="recovering")
        return {m: a if a in (ABSENT, recovering) or a.incarnations else ABSENT
                for m, a in answers.items()}  # fmt: skip


class StaysSureOfWhatItSaw(Reference):
    """ET-5: a backend that does not answer counts as it last did."""

    def __init__(self, options: ReferenceOptions) -> None:
        super().__init__(options)
        self.last: dict[Member, Presence] = {}

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        answers = super().presence(members)
        for member, answer in answers.items():
            if answer.state is PresenceState.UNKNOWN:
                answers[member] = self.last.get(member, ABSENT)
        self.last.update(answers)
        return answers


class RaisesWhenAsked(Reference):
    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        with self.register() as register:
            return {member: self.judge(register, member) for member in members}


class SwallowsErrors(Reference):
    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        with contextlib.suppress(DriverUnavailable):
            super().heartbeat(member, incarnation, ttl)


class SwallowsErrorsOfLeaving(Reference):
    def leave(self, member: Member, incarnation: int | None = None) -> None:
        with contextlib.suppress(DriverUnavailable):
            super().leave(member, incarnation)


class WaitsTooLong(Reference):
    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        if (self.directory / "frozen").exists():
            time.sleep(1)
        return super().presence(members)


class GivesUp(Reference):
    """One failure and the handle is of no use until the process is restarted."""

    broken = False

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        if self.broken:
            raise DriverUnavailable("Connection lost.")
        try:
            super().heartbeat(member, incarnation, ttl)
        except DriverUnavailable:
            self.broken = True
            raise


class NeverDoubts(Reference):
    """MC-4, MC-5: no canary."""

    def recovering(self, register: dict[str, Any]) -> bool:
        return False


class DoubtsForEver(Reference):
    def recovering(self, register: dict[str, Any]) -> bool:
        return bool(register["doubted"] != NEVER)


class ProvesByJoining(Reference):
    def prove(self, member: Member) -> None:
        self.heartbeat(member, 1, 10)


class ProvesNothing(Reference):
    """F-1: its absences are believed while nobody can join."""

    def prove(self, member: Member) -> None:
        pass


class ConnectsWhenBuilt(Reference):
    def __init__(self, options: ReferenceOptions) -> None:
        super().__init__(options)
        with self.register():
            pass


class WarnsWithoutARemedy(Reference):
    def warnings(self) -> list[str]:
        return ["Something is wrong."]
