"""`servicegroup nova probe` of a thousand computes, half of them deaf: time, CPU, and queues."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.nova_peer import cpu, seed
from benchmarks.nova_peer.measure import MeasurementError
from benchmarks.results import Claim, Section, ms
from servers.nova import Databases, NovaAPI
from servers.rabbitmq import RabbitMQ

if TYPE_CHECKING:
    from benchmarks.bench import Bench

HEAR = Path(__file__).with_name("nova_peer") / "hear.py"

LONGEST = 30.0
"""Seconds that a probe of all may take."""

MOST_CPU = 0.020
"""Seconds of CPU that the question to one service may cost the prober, its start included."""

PATIENCE = 300.0
"""Seconds after which a probe is given up."""

ORDINALS = ("first", "second", "third")


def run(bench: Bench) -> Iterator[Section]:
    """Measure; nothing where there is no RabbitMQ."""
    if not RabbitMQ.installed():
        bench.say("The probe of RPC is left out: it needs RabbitMQ.")
        return
    size = 100 if bench.quick else 1_000
    databases = Databases(*(bench.postgresql.database() for _ in Databases._fields))
    with RabbitMQ() as rabbitmq, NovaAPI(databases, rabbitmq.url) as nova:
        nova.settings = {"DEFAULT": {"service_down_time": 3600}}
        nova.configure()
        seed.seed(databases, size)
        answering, swallowing = size // 2, size // 4
        bench.say(f"A probe of {size:,} computes, half of them deaf ...")
        with _computes(nova, answering, swallowing, size - answering - swallowing):
            yield _probes(rabbitmq, nova, size, 1 if bench.quick else len(ORDINALS))


@contextmanager
def _computes(nova: NovaAPI, *numbers: int) -> Iterator[None]:
    """Have computes that answer, that swallow what they are sent, and that do not listen."""
    program = [str(nova.program("python")), str(HEAR), str(nova.configuration), *map(str, numbers)]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as hearing:
        assert hearing.stdout is not None
        if hearing.stdout.readline() != "ready\n":
            raise MeasurementError(f"{HEAR.name} ended with {hearing.wait()}")
        try:
            yield
        finally:
            hearing.kill()


def _probes(rabbitmq: RabbitMQ, nova: NovaAPI, size: int, times: int) -> Section:
    rows, worst_time, worst_cpu, grown = [], 0.0, 0.0, 0
    for number in range(times):
        before = rabbitmq.queues()
        broker = cpu.usage({"rabbitmq": rabbitmq.pid})
        seconds, used = _probe(nova, size)
        spent = cpu.spent(broker, cpu.usage({"rabbitmq": rabbitmq.pid}), size)["rabbitmq"]
        left = sum(rabbitmq.queues().values()) - sum(before.values())
        worst_time, worst_cpu = max(worst_time, seconds), max(worst_cpu, used / size)
        grown = max(grown, left)
        rows.append((ORDINALS[number], f"{seconds:.1f} s", ms(used / size), ms(spent), str(left)))
    each = f"of {size:,} services, half of them deaf"
    return Section(
        "A probe of RPC",
        f"`servicegroup nova probe` of {size:,} computes: half answer with an RPC server each, a"
        " quarter takes messages and answers none, a quarter has a queue and no consumer. CPU is"
        " that of the command, its start included. Who is known to be deaf is asked once.",
        [
            Claim(f"a probe {each}, time", f"{worst_time:.1f} s", f"≤ {LONGEST:g} s",
                  worst_time <= LONGEST),
            Claim(f"a probe {each}, CPU of each", ms(worst_cpu), f"≤ {ms(MOST_CPU)}",
                  worst_cpu <= MOST_CPU),
            Claim(f"messages in RabbitMQ after a probe {each}", f"{grown:+d}", "none more",
                  grown <= 0),
        ],
        ("probe", "time", "CPU of each", "RabbitMQ's CPU of each", "messages more"),
        rows,
    )  # fmt: skip


def _probe(nova: NovaAPI, size: int) -> tuple[float, float]:
    """Probe once; return the seconds and the CPU seconds it took. Raises MeasurementError."""
    program = [str(nova.program("servicegroup")), "nova", "--nova-config-file"]
    words = [*program, str(nova.configuration), "probe", "--binary", "nova-compute", "-f", "json"]
    before, begun = _children(), time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    seconds, used = time.monotonic() - begun, _children() - before
    found = Counter(row["rpc"] for row in json.loads(done.stdout or "[]"))
    if found != {"answers": size // 2, "deaf": size - size // 2}:
        raise MeasurementError(f"a probe found {dict(found)}: {done.stderr[-500:]}")
    return seconds, used


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
