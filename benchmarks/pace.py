"""Agents that keep the pace of real ones, all in one process: a kept connection for each.

Each reports on its own, waits for the answer, and then for its interval, by the heart's own rules.
Where several control planes are given it stays with the one that answers, as the agent's client
does. It ends with a line on standard input, and prints what was acknowledged to whom as JSON.
"""

from __future__ import annotations

import asyncio
import random
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop

from benchmarks.load import tell
from servicegroup.agent.client import attempt_timeout
from servicegroup.agent.heart import next_delay, retry_delay
from servicegroup.messages import Refusals, Report

ACCEPTED = msgspec.json.encode(Refusals()).removesuffix(b"}")
"""How the body of an answer begins when nobody was refused."""


class Paced(msgspec.Struct):
    """What agents went through: waits in seconds, acknowledged reports by service."""

    waits: list[float] = []
    acknowledged: dict[str, int] = {}
    failed: int = 0
    longest_pause: float = 0.0
    """The most seconds between two acknowledged reports of one agent."""


class Agent:
    """One service and its connection."""

    def __init__(self, uuid: str, ports: Sequence[int], interval: float, paced: Paced) -> None:
        self._uuid = uuid
        self._ports = list(ports)
        self._interval = interval
        self._timeout = attempt_timeout(interval, 6 * interval) / len(ports)
        self._paced = paced
        paced.acknowledged[uuid] = 0
        self._lines: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        body = msgspec.json.encode({"reports": [Report(uuid, 1)]})
        head = f"POST /v1/reports HTTP/1.1\r\nHost: plane\r\nContent-Length: {len(body)}\r\n"
        self._request = f"{head}Content-Type: application/json\r\n\r\n".encode() + body

    async def live(self, stopped: asyncio.Event) -> None:
        """Report until stopped; the first time at any moment of the interval."""
        failures, acknowledged = 0, 0.0
        delay = random.random() * self._interval
        while not await _happens(stopped, delay):
            begun = time.monotonic()
            is_acknowledged = await self._report()
            now = time.monotonic()
            if not is_acknowledged:
                self._paced.failed += 1
                failures += 1
                delay = retry_delay(failures, self._interval, random.random())
                continue
            failures = 0
            if acknowledged:
                self._paced.longest_pause = max(self._paced.longest_pause, now - acknowledged)
            acknowledged = now
            self._paced.waits.append(now - begun)
            self._paced.acknowledged[self._uuid] += 1
            delay = next_delay(self._interval, now - begun, random.random())
        for _, writer in self._lines.values():
            writer.close()

    async def _report(self) -> bool:
        """Tell whether any of the control planes acknowledged the report."""
        for port in list(self._ports):
            try:
                async with asyncio.timeout(self._timeout):
                    await self._ask(port)
            except (OSError, EOFError, asyncio.LimitOverrunError):
                if port in self._lines:
                    self._lines.pop(port)[1].close()
                continue
            self._ports.remove(port)
            self._ports.insert(0, port)
            return True
        return False

    async def _ask(self, port: int) -> None:
        """Send the report; raises OSError or EOFError unless it is acknowledged."""
        if port not in self._lines:
            self._lines[port] = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = self._lines[port]
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line[15:])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-len")
        )
        body = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200") or not body.startswith(ACCEPTED):
            raise OSError(body.decode(errors="replace"))


async def _happens(stopped: asyncio.Event, delay: float) -> bool:
    """Wait, and tell whether the end came meanwhile."""
    try:
        async with asyncio.timeout(delay):
            return await stopped.wait()
    except TimeoutError:
        return False


async def _run(uuids: Sequence[str], ports: Sequence[int], interval: float) -> Paced:
    paced, stopped = Paced(), asyncio.Event()
    agents = []
    for uuid in uuids:  # each prefers one of the control planes, all of them are preferred alike
        own = random.sample(ports, len(ports))
        agents.append(asyncio.create_task(Agent(uuid, own, interval, paced).live(stopped)))
    await asyncio.to_thread(sys.stdin.readline)
    stopped.set()
    await asyncio.gather(*agents)
    return paced


def main(file: str, ports: str, interval: str) -> None:
    """Report for the services whose uuids the file holds, until a line comes in."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uuids = Path(file).read_text().split()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        paced = runner.run(_run(uuids, [int(port) for port in ports.split(",")], float(interval)))
    tell(paced)


if __name__ == "__main__":
    main(*sys.argv[1:])
