"""A whole Nova with everything it stands on, each a server of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec

from servers.nova import Compute, Conductor, Databases, NovaAPI, NovaService, Scheduler, psycopg2
from servers.openstack import OpenStack, Settings, output
from servers.placement import Placement
from servers.postgresql import PostgreSQL
from servers.process import Started
from servers.rabbitmq import RabbitMQ
from support.waiting import until

JOINING = 120.0
"""Seconds in which every process of Nova has joined, on a busy machine."""

Name = tuple[str, str]
"""A service by its binary and host."""


class Cloud(Started):
    """PostgreSQL, RabbitMQ, Placement and Nova, with a compute on each of the hosts.

    Started, it has everything but Nova's processes, which `run` starts. Liveness backends are not
    a part of it: Nova's settings name them.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = hosts
        self._stack = ExitStack()

    def start(self) -> None:
        enter = self._stack.enter_context
        self.postgresql = enter(PostgreSQL({"fsync": "off"}))
        self.rabbitmq = enter(RabbitMQ())
        self.placement = enter(Placement(psycopg2(self.postgresql.database())))
        databases = Databases(*(self.postgresql.database() for _ in Databases._fields))
        self.api = NovaAPI(databases, self.rabbitmq.url, self.placement.url)
        self.conductor = Conductor(self.api)
        self.scheduler = Scheduler(self.api)
        self.computes = {host: Compute(self.api, host) for host in self.hosts}
        for process in self.processes:
            self._stack.callback(process.close)

    def close(self) -> None:
        self._stack.close()

    @property
    def services(self) -> tuple[NovaService, ...]:
        """The processes that report."""
        return (self.conductor, self.scheduler, *self.computes.values())

    @property
    def everybody(self) -> set[Name]:
        """The services that there should be."""
        return {service.identity for service in self.services}

    @property
    def processes(self) -> tuple[OpenStack, ...]:
        """All of Nova."""
        return (self.api, *self.services)

    def run(self, settings: Settings) -> None:
        """Run Nova with these settings, and return when every service is up and has reported.

        What runs with other settings is restarted, and so is what runs in spite of its deletion.
        """
        listed = self.records() if self.api.running else {}
        for service in self.services:
            if settings != self.api.settings or service.identity not in listed:
                service.kill()
        before = self.records() if self.api.running else {}
        if settings != self.api.settings:
            self.api.kill()
        self.api.settings = settings
        stopped = [process for process in self.processes if not process.running]
        for process in stopped:
            process.launch()
        for process in stopped:
            process.wait_until_ready()
        started = {service.identity for service in self.services if service in stopped}
        until(lambda: self._all_have_reported(started, before), JOINING, 0.2, "all are up")

    def _all_have_reported(self, started: set[Name], before: dict[Name, dict[str, Any]]) -> bool:
        """Say whether all are up, those just started by a report and not by one of former times."""
        records = self.records()
        if {name for name, record in records.items() if record["state"] == "up"} != self.everybody:
            return False
        return not any(_stamp(name, records) in (None, _stamp(name, before)) for name in started)

    def delete(self, host: str, binary: str = "nova-compute") -> None:
        """Delete the record of a host's service."""
        uuid = self.records()[binary, host]["id"]
        self.request("DELETE", f"/os-services/{uuid}")

    def request(self, method: str, path: str) -> Any:
        """Ask the compute API for what follows its version, and return the answer's body."""
        request = Request(self.api.url + path, method=method, headers=dict(self.api.headers))
        with urlopen(request, timeout=60) as answer:
            body = answer.read()
        return msgspec.json.decode(body) if body else None

    def records(self) -> dict[Name, dict[str, Any]]:
        """Return the services that the API lists."""
        listed = self.request("GET", "/os-services")["services"]
        return {(record["binary"], record["host"]): record for record in listed}

    def states(self) -> dict[Name, str]:
        """Return who is up and who is down."""
        return {name: record["state"] for name, record in self.records().items()}

    def state(self, host: str) -> str:
        """Return whether a host's compute is up or down."""
        return self.states()["nova-compute", host]

    def down(self) -> set[Name]:
        """Return who is down."""
        return {name for name, state in self.states().items() if state != "up"}

    def why(self, host: str) -> dict[str, Any]:
        """Return what `servicegroup nova why` says of a host's compute."""
        question = ("why", host, "nova-compute", "-f", "json")
        (said,) = msgspec.json.decode(self.api.servicegroup(*question))
        return dict(said)

    def reason(self, host: str) -> str:
        """Return the reason of the verdict on a host's compute."""
        return str(self.why(host)["reason"])

    def service_list(self) -> str:
        """Return what `openstack compute service list` prints."""
        program = Path(sys.executable).parent / "openstack"
        where = ("--os-auth-type", "none", "--os-endpoint", self.api.url)
        return output(program, *where, "compute", "service", "list")

    def destinations(self) -> set[str]:
        """Return the hosts on which the scheduler would place an instance now."""
        program = Path(__file__).parents[1] / "with_nova" / "ask_scheduler.py"
        said = output(self.api.program("python"), program, self.api.configuration)
        return set(msgspec.json.decode(said))


def _stamp(name: Name, records: dict[Name, dict[str, Any]]) -> str | None:
    """Return when a service was last updated, if ever."""
    return records[name]["updated_at"] if name in records else None
