"""Every code block of the documentation is run, page by page, as its reader would run it.

A page has a control plane of its own, a directory and a shell. The README has what ``make run``
starts, and the page of a driver has a control plane on a real server of that kind.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from docs import pages
from docs.session import Session, Step, steps
from servers.etcd import Etcd
from servers.memcached import Memcached
from servers.plugin import require
from servers.process import Server, free_port
from servers.redis import Redis
from servers.zookeeper import ZooKeeper
from support.control_plane import ControlPlane

pytestmark = pytest.mark.long

PLANE = "127.0.0.1:8774"
INTERVALS = {"report_interval": 1, "service_down_time": 4}
PATIENT = {"report_interval": 1, "service_down_time": 60}
"""So that it is the driver that finds a crash, and not the record."""

SERVERS: dict[str, tuple[type[Server], str]] = {
    "zookeeper": (ZooKeeper, "127.0.0.1:2181"),
    "memcached": (Memcached, "127.0.0.1:11211"),
    "etcd": (Etcd, "127.0.0.1:2379"),
    "redis": (Redis, "127.0.0.1:6379"),
}
"""The server of each driver's page, and the address the page has it at."""

SECTIONS = {
    "zookeeper": "address = {0}\nsession_timeout = 2\ntick_time = 0.5",
    "memcached": "servers = {0}",
    "etcd": "endpoints = http://{0}",
    "redis": "url = redis://{0}/0",
}


def runs(block: pages.Block) -> bool:
    return block.language in pages.RUN and not block.not_run


RUNNING = [name for name in pages.names() if any(map(runs, pages.page(name).blocks))]


@pytest.mark.parametrize("name", RUNNING)
@pytest.mark.timeout(300)
def test_a_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    page = pages.page(name)
    with _register(page, tmp_path) as (elsewhere, environment):
        (tmp_path / ".venv").symlink_to(sys.prefix)
        path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
        with Session(tmp_path, {"PATH": path, **environment}, elsewhere) as session:
            for block in page.blocks:
                if block.file:
                    session.write(block.file, block.text)
                elif runs(block):
                    for step in _steps(session, block):
                        session.follow(step)


@pytest.mark.parametrize("name", pages.names())
def test_no_block_escapes(name: str) -> None:
    for block in pages.page(name).blocks:
        where = f"{name}:{block.line}"
        known = (*pages.RUN, *pages.SHOWN)
        assert block.language in known, f"{where}: {block.language!r} is none of {known}"
        assert not block.not_run or block.language in pages.RUN, f"{where} is never run"


def _steps(session: Session, block: pages.Block) -> Iterator[Step]:
    if block.language == "console":
        yield from steps(block.text)
        return
    program = f"block-{block.line}.py"
    session.write(program, block.text)
    yield Step(f"{sys.executable} {program}")


@contextmanager
def _register(page: pages.Page, directory: Path) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Give where the addresses of the page really are, and the environment of its reader."""
    if page.name == "README.md":
        with _made(directory) as port:
            yield {PLANE: f"127.0.0.1:{port}"}, {}
    elif page.path.stem in SERVERS:
        kind, address = SERVERS[page.path.stem]
        require(kind)
        with kind() as server, _plane(directory, page.path.stem, server.address) as plane:
            yield {PLANE: f"127.0.0.1:{plane.port}", address: server.address}, _config(plane)
    else:
        with _plane(directory, "db" if page.path.stem == "db" else "session") as plane:
            yield {PLANE: f"127.0.0.1:{plane.port}"}, _config(plane)


@contextmanager
def _plane(directory: Path, driver: str = "session", address: str = "") -> Iterator[ControlPlane]:
    section = f"[{driver}]\n{SECTIONS[driver].format(address)}" if address else ""
    beats = {"heartbeat_interval": 0.5, "membership_ttl": 2, "servicegroup_driver": driver}
    options = {**(PATIENT if address else INTERVALS), **beats}
    database = f"sqlite:///{directory / 'register.sqlite'}"
    plane = ControlPlane(database, directory, section, **options)
    plane.start()
    try:
        yield plane
    finally:
        plane.stop()


def _config(plane: ControlPlane) -> dict[str, str]:
    return {"SERVICEGROUP_CONFIG": str(plane.config)}


@contextmanager
def _made(directory: Path) -> Iterator[int]:
    """Do what ``make run`` does, on a free port; give the port once it says what to type."""
    port = free_port()
    options = {f"OS_DEFAULT__{name.upper()}": str(value) for name, value in PATIENT.items()}
    environment = {
        "STATE_DIRECTORY": str(directory / "state"),
        "OS_DEFAULT__BIND": f"127.0.0.1:{port}",
        "SERVICEGROUP_URL": f"http://127.0.0.1:{port}",
        **options,
    }
    with (directory / "run.log").open("wb") as log:
        command = subprocess.Popen(
            [pages.ROOT / "tools" / "run.sh"],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **environment},
            text=True,
        )
    said = command.stdout
    assert said is not None
    try:
        for line in said:
            if re.search("Stop .* Ctrl-C", line):
                break
        else:
            pytest.fail(f"make run ended: {(directory / 'run.log').read_text()}")
        yield port
    finally:
        command.terminate()
        command.wait(30)
        said.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)), "make run left its control plane behind"
