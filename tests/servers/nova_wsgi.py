"""Nova's compute API in several processes, forked by gunicorn or uWSGI before or after it loads."""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

import msgspec

from servers.nova import NovaAPI
from servers.openstack import OpenStack
from servers.process import LOOPBACK, PATIENCE, family
from support.waiting import until

PROCESSES = 2

TOGETHER = 8
"""Requests at once: more than a server has threads."""

APPLICATION = "servers.nova_application:application"

TESTS = Path(__file__).parents[1]

IDENTITY = {
    "X-User-Id": "admin",
    "X-Project-Id": "admin",
    "X-Roles": "admin,member,reader",
}
"""Who asks, as the filter of Keystone would say."""


class Answer(NamedTuple):
    """What one process says of every service, by binary and host."""

    process: int
    states: Mapping[tuple[str, str], str]

    @property
    def up(self) -> set[tuple[str, str]]:
        """Who is up."""
        return {name for name, state in self.states.items() if state == "up"}


class NovaWSGI(OpenStack):
    """A server of Nova's compute API, beside the one that made the schemas and `nova.conf`.

    With ``preloaded``, Nova is loaded before the processes are forked. In eventlet mode each has
    one thread: with more, Nova itself leaves requests without an answer, or answers none at all.
    """

    package = "nova"

    def __init__(self, nova: NovaAPI, *, preloaded: bool, eventlet: bool) -> None:
        super().__init__()
        self.nova = nova
        self.preloaded = preloaded
        self.threads = 1 if eventlet else 2
        self.before = (
            "env",
            f"{nova.configured_by}={nova.directory}",
            f"OS_NOVA_DISABLE_EVENTLET_PATCHING={'false' if eventlet else 'true'}",
        )

    def answers(self) -> bool:
        """Ask which versions of the API there are."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=30)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == http.HTTPStatus.OK
        finally:
            connection.close()

    def workers(self) -> list[int]:
        """Return the processes that answer requests; the first process only starts them."""
        return family(self.pid)[1:]

    def ask(self) -> Answer:
        """Return the answer of one of the processes, whichever takes the request."""
        with urlopen(self._request("GET", ""), timeout=30) as answer:
            process, body = int(answer.headers["X-Process"]), answer.read()
        listed = msgspec.json.decode(body)["services"]
        return Answer(process, {(one["binary"], one["host"]): one["state"] for one in listed})

    def delete(self, uuid: str) -> None:
        """Have one of the processes delete the record of a service."""
        urlopen(self._request("DELETE", f"/{uuid}"), timeout=30).close()

    def _request(self, method: str, path: str) -> Request:
        headers = {**self.nova.headers, **IDENTITY}
        where = f"http://{self.address}/v2.1/os-services{path}"
        return Request(where, headers=headers, method=method)

    def ask_everybody(self) -> list[Answer]:
        """Ask, with several requests at once, until each process has answered.

        Returns every answer. Raises AssertionError when a process takes no request.
        """
        found: list[Answer] = []

        def all_have_answered() -> bool:
            with ThreadPoolExecutor(TOGETHER) as threads:
                found.extend(threads.map(lambda _: self.ask(), range(TOGETHER)))
            workers = set(self.workers())
            return len(workers) == PROCESSES and {each.process for each in found} >= workers

        until(all_have_answered, PATIENCE, what=f"all of {self.workers()} have answered")
        return found


class Gunicorn(NovaWSGI):
    """Gunicorn, all of whose options are in a file: Nova would read those of a command line."""

    name = "gunicorn"

    def prepare(self) -> None:
        (self.directory / "gunicorn.conf.py").write_text(
            f"wsgi_app = {APPLICATION!r}\n"
            f"pythonpath = {str(TESTS)!r}\n"
            f"bind = {self.address!r}\n"
            f"workers = {PROCESSES}\n"
            f"threads = {self.threads}\n"
            f"preload_app = {self.preloaded}\n"
            "control_socket_disable = True\n"
        )

    def command(self) -> Sequence[str | Path]:
        """Run it in its directory, where it looks for that file."""
        return [self.program("gunicorn")]


class UWSGI(NovaWSGI):
    """uWSGI with a master, which loads Nova itself unless each process does (`lazy-apps`)."""

    name = "uwsgi"

    def command(self) -> Sequence[str | Path]:
        return [
            *(self.program("pyuwsgi"), "--http-socket", self.address),
            *("--pythonpath", TESTS, "--module", APPLICATION),
            *("--master", "--processes", str(PROCESSES)),
            *("--threads", str(self.threads), "--enable-threads"),
            # Without that Python is not told of the fork, and Nova's processes end by force only.
            "--py-call-osafterfork" if self.preloaded else "--lazy-apps",
            *("--need-app", "--die-on-term", "--disable-logging"),
            # Nova parses the arguments of whoever runs it; uWSGI would keep connections open.
            *("--pyargv", "", "--add-header", "Connection: close", "--buffer-size", "65535"),
        ]
