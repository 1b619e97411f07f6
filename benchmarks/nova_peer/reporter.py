"""Heartbeats as nova-compute sends them, at full speed: a program for Nova's own environment.

    reporter.py CONFIGURATION conductor|database SECONDS HOST...

Every host is a thread that does what Nova's `db` driver does at each interval: one more in
`report_count`, then `save()`, either through the conductor or straight into the database. Every
line read starts a run, and every run ends with a line of JSON that says what was done.
"""

# Nova must patch the standard library before anything else is imported, and is not in the
# environment of whoever checks this file.
# ruff: noqa: E402
# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import signal

signal.alarm(120)  # the end of everything, whatever hangs

from nova import monkey_patch

monkey_patch.patch(backend="threading")

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

from nova import config, context, objects
from nova.conductor import api as conductor_api
from nova.conductor import rpcapi
from nova.db.main import api as main_db
from nova.objects import base


def connect(configuration: str, way: str) -> None:
    """Set Nova up as its compute does (way "conductor") or as its scheduler does."""
    config.parse_args(["reporter", "--config-file", configuration])
    objects.register_all()
    objects.Service.enable_min_version_cache()
    if way == "conductor":
        main_db.DISABLE_DB_ACCESS = True
        base.NovaObject.indirection_api = rpcapi.ConductorAPI()
        ready = conductor_api.API().wait_until_ready
        ready(context.get_admin_context(), early_timeout=1, early_attempts=30)


def report(service: objects.Service, seconds: float) -> int:
    """Report for some seconds, as nova.servicegroup.drivers.db does, and return how often."""
    beats = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        service.report_count += 1
        service.save()
        beats += 1
    return beats


def run(services: list[objects.Service], seconds: float) -> None:
    """Let all services report at once and print what they did."""
    signal.alarm(int(seconds) + 60)
    begun = time.monotonic()
    with ThreadPoolExecutor(len(services)) as threads:
        beats = sum(threads.map(report, services, repeat(seconds)))
    print(json.dumps({"beats": beats, "seconds": time.monotonic() - begun}), flush=True)


def main(configuration: str, way: str, seconds: str, *hosts: str) -> None:
    """Report for these hosts whenever told to."""
    connect(configuration, way)
    admin = context.get_admin_context()  # one serves all of a service's life
    find = objects.Service.get_by_host_and_binary
    services = [find(admin, host, "nova-compute") for host in hosts]
    for _ in sys.stdin:
        run(services, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
