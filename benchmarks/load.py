"""A crowd of agents in one process: many connections or sessions, one report in flight on each.

It costs little more than the system calls, so that it leaves the machine to the control plane. It
obeys lines on standard input: for each, it reports for some seconds, waits for every answer, and
prints what was acknowledged. Everything that is not an acknowledgement ends it with an error.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from servicegroup.agent.frames import TEXT, frame
from servicegroup.messages import Refusals, Report

ACKNOWLEDGED = msgspec.json.encode(Refusals()).removesuffix(b"}")
"""How the body of an answer begins when nobody was refused."""

_PATIENCE = 60
"""Seconds a run may take beyond its time before the process ends itself."""


TERMS = b'{"terms":'
"""How the first word of a session begins."""


class Crowd:
    """All connections of a run, and what was acknowledged to them."""

    def __init__(self) -> None:
        self.deadline = 0.0
        self.latencies: list[float] = []
        self.reporting = 0
        self.finished: asyncio.Future[None]

    def done(self, error: str = "") -> None:
        """Count a connection that reports no more in this run, or end the run with an error."""
        self.reporting -= 1
        if self.finished.done():
            return
        if error:
            self.finished.set_exception(RuntimeError(error))
        elif not self.reporting:
            self.finished.set_result(None)


class Agent(asyncio.Protocol):
    """One connection that reports, waits for the answer, and reports again."""

    transport: asyncio.Transport

    def __init__(self, crowd: Crowd, requests: Iterator[bytes]) -> None:
        self.crowd = crowd
        self.requests = requests
        self.answer = b""
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has no such base

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody closes a connection while there is work."""
        if self.sent:
            self.crowd.done(f"a connection was lost: {error}")

    def report(self) -> None:
        """Send the next request."""
        self.sent = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        """Report again when the answer is complete: every body is one JSON object."""
        self.answer += data
        if not data.endswith(b"}"):
            return
        if ACKNOWLEDGED not in self.answer:
            self.crowd.done(f"an answer was not an acknowledgement: {self.answer!r}")
            return
        now = time.perf_counter()
        self.crowd.latencies.append(now - self.sent)
        self.answer = b""
        if now < self.crowd.deadline:
            self.report()
        else:
            self.sent = 0.0
            self.crowd.done()


class SessionAgent(Agent):
    """One session, whose answers end as those of requests do."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the session."""
        super().connection_made(transport)
        self.opened = asyncio.get_running_loop().create_future()
        self.transport.write(upgrade())

    def data_received(self, data: bytes) -> None:
        """Begin once the terms are there."""
        if self.opened.done():
            super().data_received(data)
            return
        self.answer += data
        if TERMS in self.answer and data.endswith(b"}}"):
            self.answer = b""
            self.opened.set_result(None)


def tell(result: msgspec.Struct) -> None:
    """Print what was measured as JSON, whole: unbuffered, uvloop's end cuts off what is large.

    See findings/uvloop-closed-print-short.sh.
    """
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(msgspec.json.encode(result))


def upgrade() -> bytes:
    """Return a request for a session."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        "GET /v1/session HTTP/1.1\r\nHost: plane\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


def bodies(uuids: Sequence[str], batch: int) -> Iterator[bytes]:
    """Give bodies of ``batch`` reports each that name every service once."""
    for begin in range(0, len(uuids), batch):
        reports = [Report(uuid, 1) for uuid in uuids[begin : begin + batch]]
        yield msgspec.json.encode({"reports": reports})


def request(body: bytes) -> bytes:
    """Return a request that posts this body."""
    head = (
        "POST /v1/reports HTTP/1.1\r\nHost: plane\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def connect(
    crowd: Crowd, port: int, prepared: Sequence[bytes], count: int, *, sessions: bool
) -> list[Agent]:
    """Open the connections; no service is named on two of them."""
    loop = asyncio.get_running_loop()
    kind = SessionAgent if sessions else Agent
    agents: list[Agent] = []
    for number in range(count):
        make = partial(kind, crowd, itertools.cycle(prepared[number::count]))
        _, agent = await loop.create_connection(make, "127.0.0.1", port)
        agents.append(agent)
    for each in agents:
        if isinstance(each, SessionAgent):
            await each.opened
    return agents


async def run(crowd: Crowd, agents: Sequence[Agent], seconds: float) -> float:
    """Let all agents report for some seconds; return when every answer is there."""
    crowd.finished = asyncio.get_running_loop().create_future()
    crowd.latencies.clear()
    crowd.reporting = len(agents)
    begun = time.perf_counter()
    crowd.deadline = begun + seconds
    for agent in agents:
        agent.report()
    await crowd.finished
    return time.perf_counter() - begun


def main(way: str, port: str, file: str, batch: str, connections: str, seconds: str) -> None:
    """Report for the services whose uuids the file holds, whenever told to.

    The ``way`` is post, or session.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uuids = Path(file).read_text().split()
    by_session = way == "session"
    prepared = [
        frame(TEXT, body) if by_session else request(body) for body in bodies(uuids, int(batch))
    ]
    crowd = Crowd()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connecting = connect(crowd, int(port), prepared, int(connections), sessions=by_session)
        agents = runner.run(connecting)
        for _ in sys.stdin:
            signal.alarm(int(float(seconds)) + _PATIENCE)
            elapsed = runner.run(run(crowd, agents, float(seconds)))
            waits = sorted(crowd.latencies)
            result = {
                "requests": len(waits),
                "seconds": elapsed,
                "median": waits[len(waits) // 2],
                "slowest": waits[len(waits) * 99 // 100],
            }
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
