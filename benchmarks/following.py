"""Events as they reach whoever follows: how late, how many followers, and at what price.

The end of a znode is seen by a client of the benchmark's own, and the event by a follower of the
stream, both on this machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from kazoo.client import KazooClient

from benchmarks import register
from benchmarks.detection import APART, BINARY, LIMITS, present
from benchmarks.measure import ask, measured
from benchmarks.results import Claim, Section, ms
from servers.zookeeper import ZooKeeper
from support.control_plane import ControlPlane
from support.fleet import Agent, fleet
from support.waiting import until

if TYPE_CHECKING:
    from benchmarks.bench import Bench

LATENESS = 0.3
"""Seconds from the end of the znode to the event at a follower (design section 9)."""

OBSERVING = 0.01
"""Of a core, for looking at 10,000 services of which nobody changes."""

PREFIX = "/servicegroups"


def run(bench: Bench) -> Iterator[Section]:
    """Measure what follows from an end, from an event, and from nothing."""
    if ZooKeeper.installed():
        yield _lateness(bench)
    yield _followers(bench)
    yield _unchanged(bench)


# -- lateness ------------------------------------------------------------------------------------


def _lateness(bench: Bench) -> Section:
    kills = 5 if bench.quick else 30
    bench.say(f"Events after the end of a znode, {kills} kills ...")
    directory = bench.directory / "following"
    directory.mkdir()
    with ZooKeeper(500) as server:
        plane = ControlPlane(bench.postgresql.database(), directory)
        section = f"[zookeeper]\naddress = {server.address}\nsession_timeout = 2\n"
        plane.configure(section, servicegroup_driver="zookeeper", **LIMITS)
        plane.start()
        client = KazooClient(server.address)
        client.start()
        try:
            hosts = [f"h{n}" for n in range(kills)]
            with fleet(plane.url, hosts, directory, binary=BINARY, apart=True) as agents:
                until(lambda: present(plane) == set(hosts), timeout=120, what="all present")
                late = sorted(asyncio.run(_kill_all(plane, client, agents)))
        finally:
            client.stop()
            client.close()
            plane.stop()
    return Section(
        "Events",
        f"{kills} agents, each a process of its own in a group of its own, killed one after another"
        f" {APART} s apart."
        " The time is from the moment a client of its own hears that the znode is gone until a"
        " follower of `/v1/events/stream` has the whole event.",
        [Claim(f"end of the znode → event at a follower, worst of {kills}", ms(late[-1]),
               f"≤ {ms(LATENESS)}", late[-1] <= LATENESS)],
        ("what", "median", "worst"),
        [("end of the znode → event", ms(median(late)), ms(late[-1]))],
    )  # fmt: skip


async def _kill_all(plane: ControlPlane, client: Any, agents: list[Agent]) -> list[float]:
    """Return by how many seconds each event came after the end of its znode."""
    ended: dict[str, float] = {}
    _watch(client, [agent.host for agent in agents], ended)
    told: dict[str, float] = {}
    async with Following(plane.url) as following:
        reading = asyncio.create_task(read_downs(following, told, len(agents)))
        for agent in agents:
            agent.process.kill()
            await asyncio.sleep(APART)
        await asyncio.wait_for(reading, 60)
    return [told[agent.host] - ended[agent.host] for agent in agents]


def _watch(client: Any, hosts: list[str], ended: dict[str, float]) -> None:
    """Note when the node of each host ends; each is alone in its group."""
    for host in hosts:
        (node,) = client.get_children(f"{PREFIX}/{host}")

        def on_change(_data: Any, status: Any, _event: Any, host: str = host) -> bool:
            if status is None:
                ended.setdefault(host, time.monotonic())
            return status is not None

        client.DataWatch(f"{PREFIX}/{host}/{node}", on_change)


async def read_downs(following: Following, told: dict[str, float], count: int) -> None:
    """Note when the events that so many services are down, absent, were there."""
    while len(told) < count:
        event = await following.event()
        if event["kind"] == "service-down":
            assert event["evidence"]["presence"]["state"] == "absent"
            told.setdefault(event["host"], time.monotonic())


class Following:
    """One follower of the stream, on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self.heard: list[float] = []

    async def __aenter__(self) -> Self:
        """Connect, and wait until the stream begins."""
        host, port = self._address.hostname, self._address.port
        self._reader, self._writer = await asyncio.open_connection(host, port)
        request = f"GET /v1/events/stream HTTP/1.1\r\nHost: {self._address.netloc}\r\n\r\n"
        self._writer.write(request.encode())
        await self._reader.readuntil(b": alive\n")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Go away."""
        self._writer.close()

    async def event(self) -> dict[str, Any]:
        """Return the next event."""
        while True:
            line = await self._reader.readline()
            if line.startswith(b"data: "):
                return dict(json.loads(line.removeprefix(b"data: ")))

    async def listen(self, count: int) -> None:
        """Note when each of so many events arrived."""
        for _ in range(count):
            await self.event()
            self.heard.append(time.monotonic())


# -- followers -----------------------------------------------------------------------------------


def _followers(bench: Bench) -> Section:
    count = 100 if bench.quick else 1_000
    edits = 5 if bench.quick else 20
    bench.say(f"{count:,} followers ...")
    url = bench.postgresql.database()
    register.seed(url, 100)
    with register.control_plane(url, bench.directory) as plane:
        until(partial(is_observed, plane), timeout=60, what="an observer at work")
        pids = {"serve": plane.process.pid}
        before = resident(plane.process.pid)
        late, memory, cpu = asyncio.run(_spread(plane, count, edits, pids))
    worst = max(late)
    return Section(
        "Followers",
        f"{count:,} followers of `/v1/events/stream` on one process, each on a connection of its"
        f" own, and {edits} edits, one at a time. Lateness is from the answer to the edit until a"
        " follower has the event. The followers share the two cores.",
        [Claim(f"{count:,} followers, every event at every one, the last one after", ms(worst),
               "≤ 1 s", worst <= 1.0)],
        ("followers", "median", "last", "CPU an event", "memory a follower"),
        [(f"{count:,}", ms(median(late)), ms(worst), ms(cpu / edits),
          f"{(memory - before) / count / 1024:.0f} kB")],
    )  # fmt: skip


async def _spread(
    plane: ControlPlane, count: int, edits: int, pids: dict[str, int]
) -> tuple[list[float], int, float]:
    followings = [Following(plane.url) for _ in range(count)]
    for following in followings:
        await following.__aenter__()
    listening = [asyncio.create_task(following.listen(edits)) for following in followings]
    uuids = [s["uuid"] for s in plane.services("?binary=nova-compute").values()]
    done = []
    with measured(pids) as spent:
        for number in range(edits):
            body = {"disabled": number % 2 == 0}
            path = f"/v1/services/{uuids[0]}"
            await asyncio.to_thread(plane.request, "PATCH", path, body)
            done.append(time.monotonic())
            await asyncio.sleep(0.5)
        await asyncio.wait_for(asyncio.gather(*listening), 60)
    memory = resident(plane.process.pid)
    for following in followings:
        await following.__aexit__()
    late = [
        heard - told
        for following in followings
        for heard, told in zip(following.heard, done, strict=True)
    ]
    return late, memory, spent.cpu["serve"]


def resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


# -- what has not changed ------------------------------------------------------------------------


def _unchanged(bench: Bench) -> Section:
    rows, times, observing = [], [], []
    for size in bench.sizes:
        bench.say(f"Unchanged lists of {size:,} services ...")
        url = bench.postgresql.database()
        register.seed(url, size)
        with register.control_plane(url, bench.directory) as plane:
            until(partial(is_observed, plane), timeout=120, what="an observer at work")
            pids = {"serve": plane.process.pid, "postgresql": bench.postgresql.pid}
            etag = plane.request("GET", "/v1/services?limit=1")[1]["ETag"]
            headers = {"If-None-Match": etag}
            address = f"{plane.url}/v1/services"
            asked = ask(address, pids, 10 * bench.requests, lambda _: None, headers, status=304)
            whole = ask(address, pids, bench.runs, lambda _: None)
            with measured(pids) as idle:
                time.sleep(bench.seconds)
        share = {name: used / idle.seconds for name, used in idle.cpu.items()}
        times.append(asked.seconds)
        observing.append(share["serve"])
        rows.append((f"{size:,}", ms(asked.seconds), ms(whole.seconds),
                     f"{share['serve']:.1%}", f"{share['postgresql']:.1%}"))  # fmt: skip
    return Section(
        "Unchanged lists, and the observer",
        "`GET /v1/services` with the ETag of the last answer, beside the whole list; and what a"
        " control plane and PostgreSQL spend while nobody asks: the observer, mostly.",
        [
            Claim("`GET /v1/services` unchanged, smallest to largest table",
                  f"{ms(times[0])} to {ms(times[-1])}", "flat", times[-1] <= 1.5 * times[0]),
            Claim(f"observing {bench.sizes[1]:,} services, of a core", f"{observing[1]:.1%}",
                  f"≤ {OBSERVING:.0%}", observing[1] <= OBSERVING),
        ],
        ("services", "unchanged", "whole", "idle CPU", "PostgreSQL idle"),
        rows,
    )  # fmt: skip


def is_observed(plane: ControlPlane) -> bool:
    """Tell whether an observer has looked at every service."""
    return "ETag" in plane.request("GET", "/v1/services?limit=1")[1]
