"""A real register to look into, and the command line as a person or a script has it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from servicegroup.cli.main import cli
from servicegroup.driver import load
from servicegroup.group import ServiceGroup
from servicegroup.messages import Leave, Report
from servicegroup.model import Departure, Limits
from servicegroup.store import migrate
from servicegroup.store.clock import utcnow
from servicegroup.store.database import connect, write
from servicegroup.store.store import Store
from servicegroup.store.tables import protections

HOSTILE = "signal 9 \x1b[31m\x9b2J[bold]markup[/bold]\u202e\n"
"""What nobody wants on a terminal: escapes, C1 controls, bidi overrides, markup, a new line."""


class Desk:
    """A place to type commands at, with a register on SQLite behind its configuration."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = directory / "register.sqlite"
        self.connection = f"sqlite:///{self.database}"
        self.config = directory / "servicegroup.conf"
        self.configure()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SERVICEGROUP_")}
        self.environment = {**clean, "SERVICEGROUP_CONFIG": str(self.config)}

    def configure(self, **options: object) -> None:
        """Write the configuration file, with these options of [DEFAULT]."""
        lines = [f"{name} = {value}" for name, value in options.items()]
        text = "\n".join(["[DEFAULT]", *lines, "[database]", f"connection = {self.connection}", ""])
        self.config.write_text(text)

    def type(self, *words: str, **environment: str) -> Result:
        """Run a command in this process; nobody sits at its terminal."""
        given = {"SERVICEGROUP_URL": None, "SERVICEGROUP_TOKEN": None, **self.environment}
        return CliRunner().invoke(cli, words, env={**given, **environment})

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a process of its own, from the register's directory."""
        return subprocess.run(
            self.command(*words),
            env={**self.environment, **environment},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def command(self, *words: str) -> list[str]:
        """Return the command line of a process."""
        return [sys.executable, "-m", "servicegroup", *words]


@pytest.fixture
def bare_desk(tmp_path: Path) -> Desk:
    """Give a desk whose register does not exist yet."""
    return Desk(tmp_path)


@pytest.fixture
def desk(bare_desk: Desk) -> Desk:
    """Give a desk whose register exists and is empty."""
    engine = connect(bare_desk.connection)
    migrate.upgrade(engine)
    engine.dispose()
    return bare_desk


@pytest.fixture
def group(desk: Desk) -> Iterator[ServiceGroup]:
    """Give the layer on the desk's register."""
    engine = connect(desk.connection)
    yield ServiceGroup(Store(engine), load("db"), Limits())
    engine.dispose()


@pytest.fixture
def fleet(group: ServiceGroup) -> ServiceGroup:
    """Give the layer on a register with two computes that are up and a conductor that is not."""
    fill(group)
    return group


def fill(group: ServiceGroup) -> None:
    """Register cmp1 and cmp2, which report, and ctl, whose process died with hostile words."""
    for number in (1, 2):
        compute = group.join(f"cmp{number}", "nova-compute", version=60 + number)
        group.report([Report(compute.uuid, compute.incarnation)])
    conductor = group.join("ctl", "nova-conductor", zone="az2", version=7)
    group.depart([Leave(conductor.uuid, conductor.incarnation, Departure.EXITED, HOSTILE)])


def suspect(group: ServiceGroup) -> None:
    """Make the presence of the computes suspect, as the observer would."""
    engine = group._store.engine
    row = {"topic": "compute", "zone": "nova", "signal": "presence", "members": 20, "peak": 20}
    held = protections.insert().values(**row, since=select(utcnow()).scalar_subquery())
    write(engine, lambda connection: connection.execute(held))
