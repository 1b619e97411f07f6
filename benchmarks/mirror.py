"""What a mirror of a large cloud costs its host and the register: processor time, and a first look.

The cloud is a list of ten thousand computes whose stamps move every ten seconds, a tenth of them
each second, as Nova would write it.
"""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from benchmarks import measure, register
from benchmarks.results import Claim, Section
from servers.process import LOOPBACK, free_port
from support.waiting import until

if TYPE_CHECKING:
    from benchmarks.bench import Bench

SERVICES = 10_000
SHARE = 0.05
"""Of a core."""
FIRST_LOOK = 60.0
"""Seconds, installing not counted."""
INTERVAL = 10
"""Seconds between two heartbeats of a service."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure both."""
    bench.say("A mirror of 10,000 services ...")
    port = free_port()
    directory = bench.directory / "mirror"
    directory.mkdir(exist_ok=True)
    cloud = {"auth_type": "none", "compute_endpoint_override": f"http://{LOOPBACK}:{port}/v2.1"}
    (directory / "clouds.yaml").write_bytes(msgspec.json.encode({"clouds": {"large": cloud}}))
    log = directory / "mirror.log"
    url = bench.postgresql.database()
    with (
        subprocess.Popen([sys.executable, "-m", __name__, str(port)]) as listing,
        register.control_plane(url, bench.directory) as plane,
        log.open("wb") as output,
    ):
        begun = time.monotonic()
        command = [sys.executable, "-m", "servicegroup", "--url", plane.url, "mirror"]
        with subprocess.Popen(
            [*command, "--os-cloud", "large"], cwd=directory, stdout=output, stderr=output
        ) as mirror:
            until(lambda: b"Dashboard" in log.read_bytes(), 120, what="the first look")
            first = time.monotonic() - begun
            pids = {"mirror": mirror.pid, "plane": plane.process.pid}
            with measure.measured(pids) as spent:
                time.sleep(6 * bench.seconds)
            mirror.terminate()
        listing.terminate()
    share = {name: cpu / spent.seconds for name, cpu in spent.cpu.items()}
    yield Section(
        "A mirror of an OpenStack",
        f"{SERVICES:,} services whose stamps move every {INTERVAL} s, on PostgreSQL.",
        [
            Claim("a mirror, of a core", _percent(share["mirror"]), _percent(SHARE),
                  share["mirror"] <= SHARE),
            Claim("first look after the command", f"{first:.1f} s", f"{FIRST_LOOK:.0f} s",
                  first <= FIRST_LOOK),
        ],
        ("", "of a core"),
        [
            ("the mirror", _percent(share["mirror"])),
            ("the control plane", _percent(share["plane"])),
        ],
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


class _Computes(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        now = time.time()
        rows = [
            {
                "id": str(number),
                "binary": "nova-compute",
                "host": f"compute{number}",
                "zone": "nova",
                "status": "enabled",
                "state": "up",
                "disabled_reason": None,
                "forced_down": False,
                "updated_at": _beat(now - number % INTERVAL, number % INTERVAL),
            }
            for number in range(SERVICES)
        ]
        body = msgspec.json.encode({"services": rows})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _beat(now: float, phase: int) -> str:
    latest = now // INTERVAL * INTERVAL + phase
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000", time.gmtime(latest))


if __name__ == "__main__":
    os.nice(5)
    http.server.ThreadingHTTPServer((LOOPBACK, int(sys.argv[1])), _Computes).serve_forever()
