"""Questions down the sessions held here: who answers them, as it says, and who is deaf (F-40).

What holds a session open is a thread; what answers is where the work is done. Each life that says
that it answers is asked at intervals, and only what changes reaches the record. Time is counted in
looks, and none counts while this process stood still or the database is away: neither accuses
anybody.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from servicegroup.controlplane.background import Recurring
from servicegroup.controlplane.sessions import HeldLife, Holding, Sessions
from servicegroup.protection import Thresholds, is_crowd
from servicegroup.recording import Heard
from servicegroup.rpc import RpcLimits

LOOK = 1.0
"""Seconds between two looks at who is to be asked, and at who did not answer."""


class _Asked:
    """What is known of one life in its session here; moments are numbers of looks.

    ``open_since`` is when the first question was asked that is still unanswered, None if none is.
    ``told`` is what the record was told last: whether it is deaf, and whether with many others.
    """

    __slots__ = ("due", "open_since", "told")

    def __init__(self, due: int) -> None:
        self.due = due
        self.open_since: int | None = None
        self.told: tuple[bool, bool] | None = None


class Questions:
    """Asks whoever holds a session here and says that it answers; for one event loop."""

    def __init__(
        self,
        sessions: Sessions,
        limits: RpcLimits,
        thresholds: Thresholds,
        stood_still: Callable[[], bool],
    ) -> None:
        """Ask in ``sessions`` by ``limits``; nothing counts while ``stood_still`` says so.

        By the ``thresholds`` of a group so many may be deaf at once that it is not they.
        """
        self._sessions = sessions
        self._interval = max(1, round(limits.interval / LOOK))
        self._timeout = max(1, math.ceil(limits.timeout / LOOK))
        self._thresholds = thresholds
        self._stood_still = stood_still
        self._looks = 0
        self._lives: dict[str, _Asked] = {}

    async def run(self) -> None:
        """Look until cancelled; no failure ends it (LC-9)."""
        recurring = Recurring("Asking services")
        while True:
            await asyncio.sleep(LOOK)
            with recurring:
                self.look()

    def look(self) -> None:
        """Ask whoever is due, and note who has left a question unanswered for too long."""
        sessions = self._sessions
        if sessions.stopping or sessions.commits.is_troubled or self._stood_still():
            return
        self._looks += 1
        held = list(self._held())
        self._lives = {life.opening.session: one for _, life, one in held}
        due: dict[Holding, list[HeldLife]] = {}
        for holding, life, one in held:
            if one.due <= self._looks:
                one.due = self._looks + self._interval
                if one.open_since is None:
                    one.open_since = self._looks
                due.setdefault(holding, []).append(life)
        for holding, lives in due.items():
            holding.line.tell({"questions": [_named(life) for life in lives]})
        self._note_deaf([(life, one) for _, life, one in held])

    def answered(self, holding: Holding, uuids: Iterable[str]) -> None:
        """Note the answers of services that this connection speaks for, if they were asked."""
        for uuid in uuids:
            life = holding.lives.get(uuid)
            one = None if life is None else self._lives.get(life.opening.session)
            if life is not None and one is not None and one.open_since is not None:
                one.open_since = None
                self._tell(life, one, deaf=False)

    def _held(self) -> Iterator[tuple[Holding, HeldLife, _Asked]]:
        """Yield who is asked here; whoever is new has its turn within ``timeout``."""
        for holding in self._sessions.answering:
            for uuid, life in holding.lives.items():
                if life.opening.answers:
                    one = self._lives.get(life.opening.session)
                    if one is None:
                        one = _Asked(self._looks + zlib.crc32(uuid.encode()) % self._timeout)
                    yield holding, life, one

    def _note_deaf(self, held: Iterable[tuple[HeldLife, _Asked]]) -> None:
        """Tell the record who is deaf, and who is so with too many of its group to be accused."""
        deaf: list[tuple[HeldLife, _Asked]] = []
        asked: Counter[str] = Counter()
        for life, one in held:
            asked[life.member.group] += one.told is not None or one.open_since is not None
            if one.open_since is not None and self._looks - one.open_since >= self._timeout:
                deaf.append((life, one))
        lost = Counter(life.member.group for life, _ in deaf)
        crowds = {
            group
            for group, count in lost.items()
            if is_crowd(count, asked[group] - count, self._thresholds.of(group))
        }
        for life, one in deaf:
            self._tell(life, one, deaf=True, together=life.member.group in crowds)

    def _tell(self, life: HeldLife, one: _Asked, *, deaf: bool, together: bool = False) -> None:
        """Tell the record, unless that is what it was told last."""
        if one.told == (deaf, together):
            return
        one.told = (deaf, together)
        since = self._looks if one.open_since is None else one.open_since
        deaf_for = LOOK * (self._looks - since) if deaf else None
        heard = Heard(life.opening.uuid, life.opening.session, deaf_for, together)
        self._sessions.commits.hear(heard, life.member)


def _named(life: HeldLife) -> dict[str, object]:
    return {"uuid": life.opening.uuid, "incarnation": life.opening.incarnation}
