"""The line of a session that writes down what was said over it, and when it surely was held.

A heartbeat is acknowledged by its pong, while nobody has asked to go elsewhere: a control plane
that cannot vouch for its sessions asks for that within 3 s. A connection that takes the place of
another one within ``linger`` leaves no gap; a later one does.
"""

from __future__ import annotations

import time
from collections import deque
from queue import SimpleQueue
from typing import Any

from nemesis.limits import LINGER
from nemesis.noting import broken, lives, proven, refusal
from servicegroup.agent.frames import PONG, Frames
from servicegroup.agent.line import Line
from servicegroup.messages import Held, Reported

Life = tuple[str, int]

sure: dict[Life, float] = {}
"""When each life was last known to hold a session, on whichever line."""


class CountingFrames(Frames):
    """Counts the pongs: each answers the first ping that has none yet."""

    pongs = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        found = super().feed(data)
        self.pongs += sum(opcode == PONG for opcode, _ in found)
        return found


class RecordingLine(Line):
    """Writes down what is said over it; see ``Line``."""

    _pings: deque[float]
    _life: Life | None = None
    _said: dict[int, tuple[Any, float]]
    _heard = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pings = deque()
        self._said = {}

    def ask(self, frame: object) -> SimpleQueue[Any]:
        sent = time.monotonic()
        try:
            slot = super().ask(frame)
        except BaseException:
            self._note(frame, sent, None)
            raise
        self._said[id(slot)] = frame, sent
        return slot

    def taken(self, slot: SimpleQueue[Any], seconds: float) -> Any:
        answer = None
        try:
            answer = super().taken(slot, seconds)
        finally:
            if (asked := self._said.pop(id(slot), None)) is not None:
                self._note(*asked, answer)
        return answer

    def _note(self, frame: Any, sent: float, answer: Any) -> None:
        for report in frame.get("reports", ()):
            life = lives[report.uuid, report.incarnation]
            given = isinstance(answer, Reported)
            refused = refusal(answer if given else None, report.uuid)
            proven(life, "report", sent, acknowledged=given, refused=refused)
        for hold in frame.get("hold", ()):
            own = hold["uuid"], hold["incarnation"]
            held = isinstance(answer, Held) and hold["uuid"] not in answer.outdated
            refused = refusal(answer if held else None, hold["uuid"])
            if held and not refused:
                self._life, now = own, time.monotonic()
                if now - sure.get(own, now) > LINGER:
                    broken(lives[own], sure[own], now)
                sure[own] = sent
            proven(lives[own], "heartbeat", sent, acknowledged=held, refused=refused)
        for gone in frame.get("release", ()):
            self._life = None
            broken(lives[gone["uuid"], gone["incarnation"]], sent, time.monotonic())

    def ping(self) -> None:
        self._pings.append(time.monotonic())
        super().ping()

    def read(self, seconds: float) -> None:
        try:
            super().read(seconds)
        finally:
            self._note_pongs()

    def _note_pongs(self) -> None:
        frames: Any = self._socket._frames
        for _ in range(frames.pongs - self._heard):
            sent = self._pings.popleft()
            self._heard += 1
            if self._life is not None:
                is_sure = self.draining is None
                if is_sure:
                    sure[self._life] = max(sent, sure[self._life])
                proven(lives[self._life], "heartbeat", sent, acknowledged=is_sure)

    def close(self) -> None:
        super().close()
        for asked in list(self._said):
            if (unanswered := self._said.pop(asked, None)) is not None:
                self._note(*unanswered, None)
        while self._pings and self._life is not None:
            proven(lives[self._life], "heartbeat", self._pings.popleft(), acknowledged=False)
