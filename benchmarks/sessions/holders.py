"""Agents that hold a session each, all in one process, at the pace of real ones.

Each opens its session, holds it for its service, pings and reports by the heart's own rules, and
opens another one when it ends, is silent or is asked to go, elsewhere where it can. It ends with a
line on standard input, and prints what it went through as JSON.
"""

from __future__ import annotations

import asyncio
import random
import resource
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from benchmarks.load import TERMS, tell, upgrade
from servicegroup.agent.frames import CLOSE, PING, PONG, TEXT, Frames, frame
from servicegroup.agent.heart import next_delay, retry_delay
from servicegroup.messages import Held as Answer
from servicegroup.messages import Report
from servicegroup.model import Limits

LIMITS = Limits()
"""The defaults."""

OPENING = 2_000
"""Sessions that are opened a second at the beginning."""

_BIG = 4 * 1024 * 1024


class Held(msgspec.Struct):
    """What agents went through: waits in seconds, acknowledged reports by service."""

    waits: list[float] = []
    acknowledged: dict[str, int] = {}
    opened: int = 0
    failed: int = 0
    """Attempts to open a session that failed."""
    ended: int = 0
    """Sessions that ended before another one was open."""
    longest_gap: float = 0.0
    """The most seconds that one of them was without."""


class Session(asyncio.Protocol):
    """One connection; ``held`` is done once the service holds it."""

    def __init__(self, holder: Holder, port: int) -> None:
        self._holder = holder
        self.port = port
        self.held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_quiet = False
        self._head: bytes | None = b""
        self._frames = Frames(_BIG)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the session."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has no such base
        self.transport.write(upgrade())

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self._head is not None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head[:16]:
                self.transport.abort()
                return
            self._head = None
        self.is_quiet = False
        for opcode, payload in self._frames.feed(data):
            if opcode == TEXT:
                self._hear(payload)
            elif opcode == PING:
                self.transport.write(frame(PONG, payload))
            elif opcode == CLOSE:
                self.transport.abort()

    def _hear(self, said: bytes) -> None:
        if said.startswith(b'{"reported":'):
            self._holder.acknowledged()
        elif said.startswith(TERMS):
            self.transport.write(frame(TEXT, self._holder.hold()))
        elif said.startswith(b'{"held":'):
            self._take(msgspec.json.decode(said, type=dict[str, Answer])["held"])
        elif said.startswith(b'{"drain":'):
            self._holder.drained(self, msgspec.json.decode(said)["drain"])
        else:
            self.transport.abort()

    def _take(self, answer: Answer) -> None:
        outdated = answer.outdated.get(self._holder.uuid)
        if outdated is not None:
            self._holder.number = outdated
            self.transport.write(frame(TEXT, self._holder.hold()))
        elif not self.held.done():
            self.held.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits, and whoever held it."""
        if not self.held.done():
            self.held.set_exception(ConnectionError("the session ended"))
        self._holder.lost(self)


class Holder:
    """One service and its session."""

    def __init__(self, uuid: str, ports: Sequence[int], went: Held) -> None:
        self.uuid = uuid
        self.number = 0
        self.session: Session | None = None
        self._left: int | None = None
        self._went = went
        first = zlib.crc32(uuid.encode()) % len(ports)
        self._ports = [*sorted(ports)[first:], *sorted(ports)[:first]]
        self._loop = asyncio.get_running_loop()
        self._opening: asyncio.Task[None] | None = None
        self._failures = 0
        self._lost_at: float | None = time.monotonic()
        self._has_held = False
        self._sent: float | None = None
        self._stopping = False
        self._report = frame(TEXT, msgspec.json.encode({"reports": [Report(uuid, 1)]}))
        went.acknowledged[uuid] = 0

    def hold(self) -> bytes:
        """Return the words that hold a session that is newer than any before."""
        self.number += 1
        life = {"uuid": self.uuid, "incarnation": 1, "number": self.number}
        return msgspec.json.encode({"hold": [life]})

    def begin(self, delay: float) -> None:
        """Open the first session, and beat and report from then on at any moment of an interval."""
        self._loop.call_later(delay, self._open)
        wait = LIMITS.heartbeat_interval * random.random()
        self._loop.call_later(delay + wait, self._beat)
        self._loop.call_later(delay + LIMITS.report_interval * random.random(), self.report)

    def stop(self) -> None:
        """Do nothing more."""
        self._stopping = True
        if self._opening is not None:
            self._opening.cancel()
        session, self.session = self.session, None
        if session is not None:
            session.transport.abort()

    # -- the session -------------------------------------------------------------------------

    def _open(self) -> None:
        if self._opening is None and not self._stopping:
            self._opening = self._loop.create_task(self._open_somewhere())

    async def _open_somewhere(self) -> None:
        former = self.session
        left = self._left if former is None else former.port
        others = sum(port != left for port in self._ports)
        share = max(1.0, self._patience() / (others or 1))
        for port in sorted(self._ports, key=lambda port: port == left):
            patience = 1.0 if others and port == left else share
            session: Session | None = None
            try:
                async with asyncio.timeout(patience):
                    _, session = await self._loop.create_connection(
                        partial(Session, self, port), "127.0.0.1", port
                    )
                    await session.held
            except OSError:
                if session is not None:
                    session.transport.abort()
                continue
            self._adopt(session)
            return
        self._opening = self._left = None
        if former is not None and former is self.session:
            self._give_up(former)  # as an agent does that finds no other control plane
        self._went.failed += 1
        self._failures += 1
        delay = retry_delay(self._failures, LIMITS.heartbeat_interval, random.random())
        self._loop.call_later(delay, self._open)

    def _patience(self) -> float:
        """Return the seconds that an attempt may take, by the agent's own rule."""
        without = 0.0 if self._lost_at is None else time.monotonic() - self._lost_at
        ttl = LIMITS.membership_ttl
        return max(LIMITS.heartbeat_interval, ttl / 2, min(without, ttl))

    def _adopt(self, session: Session) -> None:
        self._opening, self._failures = None, 0
        former, self.session = self.session, session
        self._went.opened += 1
        if self._lost_at is not None and self._has_held:
            gap = time.monotonic() - self._lost_at
            self._went.longest_gap = max(self._went.longest_gap, gap)
        self._lost_at, self._has_held = None, True
        session.transport.write(_PING)  # as an agent does: the answer came
        if former is not None:
            former.transport.write(frame(CLOSE, b"\x03\xe8"))
            former.transport.close()
        if self._sent is not None:
            session.transport.write(self._report)

    def drained(self, session: Session, why: str) -> None:
        """Go elsewhere, before this one ends."""
        if session is self.session:
            self._open()

    def lost(self, session: Session) -> None:
        """Open another one, if that was the one in use."""
        if session is self.session and not self._stopping:
            self._give_up(session)
            self._open()

    def _give_up(self, session: Session) -> None:
        self.session, self._left = None, session.port
        self._lost_at = time.monotonic()
        self._went.ended += 1
        session.transport.abort()

    def _beat(self) -> None:
        session = self.session
        if session is not None and session.is_quiet:
            session.transport.abort()
        elif session is not None:
            session.is_quiet = True
            session.transport.write(_PING)
        self._again(LIMITS.heartbeat_interval, self._beat)

    # -- reports -----------------------------------------------------------------------------

    def report(self) -> None:
        """Send a report; without a session it goes over the next one."""
        if self._sent is None:
            self._sent = time.monotonic()
            if self.session is not None:
                self.session.transport.write(self._report)
        self._again(LIMITS.report_interval, self.report)

    def acknowledged(self) -> None:
        """Count a report."""
        if self._sent is not None:
            self._went.waits.append(time.monotonic() - self._sent)
            self._went.acknowledged[self.uuid] += 1
            self._sent = None

    def _again(self, interval: float, work: Callable[[], None]) -> None:
        if not self._stopping:
            self._loop.call_later(next_delay(interval, 0.0, random.random()), work)


_PING = frame(PING, b"")


async def _run(uuids: Sequence[str], ports: Sequence[int]) -> Held:
    went = Held()
    holders = [Holder(uuid, ports, went) for uuid in uuids]
    for number, holder in enumerate(holders):
        holder.begin(number / OPENING)
    await asyncio.to_thread(sys.stdin.readline)
    for holder in holders:
        holder.stop()
    return went


def main(file: str, ports: str) -> None:
    """Hold sessions for the services whose uuids the file holds, until a line comes in."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uuids = Path(file).read_text().split()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        went = runner.run(_run(uuids, [int(port) for port in ports.split(",")]))
    tell(went)


if __name__ == "__main__":
    main(*sys.argv[1:])
