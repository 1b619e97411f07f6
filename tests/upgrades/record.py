"""Records a release, so that later ones can be held to it: its tables, and its agents' talk.

With the release to be recorded on the path, from the directory of the tests:

    PYTHONPATH=RELEASE/src:. python -m upgrades.record

writes ``first/DIALECT.sql``, what its first migration does, and ``first/agent.json``, every request
of its agents with the answer of its control plane: two services join, report, one is deleted and
told, one is stopped.
"""

from __future__ import annotations

import io
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import urllib3
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from servicegroup.store import migrate
from support.control_plane import ControlPlane
from support.fleet import Agent
from support.waiting import until
from upgrades.exchange import Exchange

DIALECTS = ("sqlite", "postgresql", "mysql")


def first_migration(dialect: str) -> str:
    """Return what the first migration of the release on the path does, as SQL."""
    written = io.StringIO()
    options = {"as_sql": True, "output_buffer": written}
    context = MigrationContext.configure(dialect_name=dialect, opts=options)
    script = ScriptDirectory.from_config(migrate.config()).get_revision("0001")
    with Operations.context(context):
        script.module.upgrade()
    lines = (line.rstrip() for line in written.getvalue().splitlines())
    return "\n".join(line for line in lines if line) + "\n"


class Recorder(ThreadingHTTPServer):
    """Passes requests on to a control plane, one at a time, and keeps them with their answers."""

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.target = url
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.http = urllib3.PoolManager(retries=False)
        self.exchanges: list[Exchange] = []
        self.order = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def told(self, test: Callable[[Exchange], bool]) -> bool:
        """Tell whether there was such an exchange."""
        return any(map(test, list(self.exchanges)))


class _Passing(BaseHTTPRequestHandler):
    server: Recorder

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.order:
            headers = {"Content-Type": "application/json"}
            url = self.server.target + self.path
            answer = self.server.http.request(self.command, url, body=body, headers=headers)
            decoded: list[Any] = [
                msgspec.json.decode(t) if t else None for t in (body, answer.data)
            ]
            self.server.exchanges.append(
                Exchange(self.command, self.path, decoded[0], answer.status, decoded[1])
            )
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.data)))
        self.end_headers()
        self.wfile.write(answer.data)

    do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815 - the standard library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def talk(directory: Path) -> list[Exchange]:
    """Return what agents of the release on the path say to its control plane, and are told."""
    plane = ControlPlane(
        f"sqlite:///{directory / 'r.sqlite'}", directory, report_interval=1, service_down_time=4
    )
    plane.start()
    recorder = Recorder(plane.url)
    agents = [Agent(recorder.url, host, directory, binary="nova-compute") for host in ("h1", "h2")]
    try:
        until(lambda: len(recorder.exchanges) > 6, 30, what="reports")
        uuid = plane.services()["h1", "nova-compute"]["uuid"]
        urllib3.request("DELETE", f"{recorder.url}/v1/services/{uuid}", retries=False)
        until(lambda: recorder.told(lambda e: uuid in (e.answer or {}).get("deleted", ())), 30)
        agents[1].process.send_signal(signal.SIGTERM)
        agents[1].process.wait(20)
    finally:
        for agent in agents:
            agent.end()
        plane.stop()
    return recorder.exchanges


def main(directory: Path) -> None:
    """Write the recordings."""
    for dialect in DIALECTS:
        (directory / f"{dialect}.sql").write_text(first_migration(dialect))
    with tempfile.TemporaryDirectory() as scratch:
        exchanges = talk(Path(scratch))
    text = msgspec.json.format(msgspec.json.encode(exchanges), indent=1)
    (directory / "agent.json").write_bytes(text + b"\n")


if __name__ == "__main__":
    main(Path(__file__).parent / "first")
    sys.exit()
