"""What Nova takes, in time and in CPU, for the questions and heartbeats servicegroup answers too.

Every figure is the median of several runs. Every answer is checked: a list that lacks a service or
shows one down, or a heartbeat that was not committed, raises MeasurementError.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Literal

from msgspec import Struct

from benchmarks.nova_peer import seed
from benchmarks.nova_peer.cpu import Usage, medians, spent, usage
from servers.process import reaper

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from servers.nova import NovaAPI

Way = Literal["conductor", "database"]
"""How a heartbeat travels: a compute's, over the broker to the conductor; or a scheduler's, which
saves in its own process and so is a part of the control plane itself."""

REPORTER = Path(__file__).with_name("reporter.py")


class MeasurementError(Exception):
    """Nova's answer was not the one that was to be timed; the message says what was wrong."""


class Listing(Struct, frozen=True, kw_only=True):
    """`GET /os-services`, asked several times on a new connection each."""

    services: int
    """Compute services in the table."""
    answered: int
    """Compute services in the answer."""
    bytes: int
    cache: str
    """Where Nova keeps availability zones: in its "memory" or in "memcached"."""
    seconds: float
    cpu_ms: dict[str, float]
    """Per request, by server."""
    runs: list[float]
    """Seconds of each request."""

    @property
    def server_cpu(self) -> float:
        """CPU seconds of a request, of Nova and of the memcached that it asks."""
        return (self.cpu_ms["nova"] + self.cpu_ms.get("memcached", 0.0)) / 1000


class Heartbeats(Struct, frozen=True, kw_only=True):
    """Heartbeats of a few hosts, each as fast as it can."""

    way: Way
    reporters: int
    per_second: float
    cpu_ms: dict[str, float]
    """Per heartbeat, by server; "reporter" is the process that sends them."""
    control_plane_cpu_ms: float
    """Per heartbeat, all servers together, without the reporter if it stands for computes."""
    runs: list[float]
    """Heartbeats per second of each run."""


def listing(
    peer: NovaAPI, servers: Mapping[str, int], services: int, runs: int, host: str | None = None
) -> Listing:
    """Time the list of all services, or of one host; `servers` are the pids to charge, by name."""
    query = f"?host={host}" if host else ""
    request = urllib.request.Request(f"{peer.url}/os-services{query}", headers=dict(peer.headers))
    expected = 1 if host else services
    _ask(request)  # the first one opens database connections and fills caches
    seconds: list[float] = []
    spendings: list[Usage] = []
    for _ in range(runs):
        seed.refresh(peer.databases)
        before = usage(servers)
        taken, body = _ask(request)
        spendings.append(spent(before, usage(servers)))
        seconds.append(round(taken, 4))
        _check(body, expected)
    return Listing(
        services=services,
        answered=expected,
        bytes=len(body),
        cache="memcached" if "memcached" in servers else "memory",
        seconds=median(seconds),
        cpu_ms=medians(spendings),
        runs=seconds,
    )


def heartbeats(
    peer: NovaAPI,
    servers: Mapping[str, int],
    way: Way,
    reporters: int,
    runs: int,
    seconds: float = 3,
) -> Heartbeats:
    """Let so many hosts report for some seconds each run, one thread each in one process."""
    rates: list[float] = []
    spendings: list[Usage] = []
    with _reporter(peer, way, reporters, seconds) as process:
        charged = {**servers, "reporter": process.pid}
        for _ in range(runs):
            committed, before = seed.beats(peer.databases), usage(charged)
            done = json.loads(_tell(process, "go"))
            after = usage(charged)
            committed = seed.beats(peer.databases) - committed
            if committed != done["beats"]:
                raise MeasurementError(f"{done['beats']} heartbeats sent, {committed} committed")
            spendings.append(spent(before, after, committed))
            rates.append(round(committed / done["seconds"], 1))
    cpu_ms = medians(spendings)
    charged_to_computes = cpu_ms["reporter"] if way == "conductor" else 0
    return Heartbeats(
        way=way,
        reporters=reporters,
        per_second=median(rates),
        cpu_ms=cpu_ms,
        control_plane_cpu_ms=round(sum(cpu_ms.values()) - charged_to_computes, 3),
        runs=rates,
    )


@contextmanager
def _reporter(
    peer: NovaAPI, way: Way, reporters: int, seconds: float
) -> Iterator[subprocess.Popen[str]]:
    """Run reporter.py, warmed up; it ends itself if anything hangs."""
    hosts = [seed.host(number + 1) for number in range(reporters)]
    command = [peer.program("python"), REPORTER, peer.configuration, way, str(seconds), *hosts]
    log = peer.directory / "reporter.log"
    pipe = subprocess.PIPE
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True) as process,
    ):
        reaper().remember(process.pid)
        try:
            _tell(process, "warm up")
            yield process
        except (BrokenPipeError, EOFError):
            last = log.read_text(errors="replace").splitlines()[-1:]
            raise MeasurementError(f"the reporter ended early: {' '.join(last)}") from None
        finally:
            process.kill()


def _tell(process: subprocess.Popen[str], line: str) -> str:
    writer, reader = process.stdin, process.stdout
    assert writer is not None
    assert reader is not None
    print(line, file=writer, flush=True)
    return _line(reader)


def _line(reader: IO[str]) -> str:
    line = reader.readline()
    if not line:
        raise EOFError
    return line


def _ask(request: urllib.request.Request) -> tuple[float, bytes]:
    begun = time.perf_counter()
    with urllib.request.urlopen(request, timeout=120) as answer:
        body = answer.read()
    return time.perf_counter() - begun, body


def _check(body: bytes, expected: int) -> None:
    services = json.loads(body)["services"]
    # Nova's conductor registers itself beside them.
    computes = [service for service in services if service["binary"] == "nova-compute"]
    up = sum(service["state"] == "up" for service in computes)
    if not len(computes) == up == expected:
        raise MeasurementError(
            f"the list has {len(computes)} computes of which {up} are up; expected {expected} up"
        )
