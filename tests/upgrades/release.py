"""The first release: what was recorded of it, and, where the history of git is there, itself.

A clone has the recordings (``first/``), so what depends on them alone is always tested. A clone
with its history also has the release: its source is taken out of git and runs with the libraries
of this environment, which it allows.
"""

from __future__ import annotations

import subprocess
import tarfile
import tomllib
from collections.abc import Mapping
from configparser import ConfigParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, text
from sqlalchemy.engine import make_url

from servicegroup.store.clock import utcnow
from servicegroup.store.database import connect, write
from servicegroup.store.migrate import VERSION_TABLE
from support.control_plane import ControlPlane

COMMIT = "9b02795c15e7e92d752e2d71bdda319c14495a46"
"""The newest one of version 0.1.0 before the schema changed for the first time."""

INCARNATION, REPORTS = 3, 8
"""The life of every service that ``fill`` adds, and how often it has reported."""

RECORDED = Path(__file__).parent / "first"
CHECKOUT = Path(__file__).parents[2]


MISSING = f"the first release, {COMMIT[:7]}, is not in this clone; git fetch --unshallow"


def extract(directory: Path) -> Path | None:
    """Return a directory to put on PYTHONPATH, None where the clone has no history."""
    archive = subprocess.run(
        ["git", "-C", CHECKOUT, "archive", COMMIT, "src", "pyproject.toml"],
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        return None
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")
    project = tomllib.loads((directory / "pyproject.toml").read_text())["project"]
    _install(directory / "src", project["entry-points"])
    return directory / "src"


def _install(path: Path, entry_points: Mapping[str, Mapping[str, str]]) -> None:
    """Have its own drivers found beside its source: those of this environment are of this build."""
    metadata = path / "servicegroup-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: servicegroup\nVersion: 0.1.0\n"
    )
    told = ConfigParser()
    told.read_dict(entry_points)
    with (metadata / "entry_points.txt").open("w") as file:
        told.write(file)


def source(directory: Path) -> Path:
    """Return a directory to put on PYTHONPATH; skips where the clone has no history."""
    path = extract(directory)
    if path is None:
        pytest.skip(f"SKIPPED: {MISSING}")
    return path


class FirstControlPlane(ControlPlane):
    """A control plane of the first release; ``path`` is its source."""

    def __init__(self, path: Path, connection: str, directory: Path, **options: Any) -> None:
        self._path = path
        super().__init__(connection, directory, **options)

    def command(self, *arguments: str) -> list[str]:
        return ["env", f"PYTHONPATH={self._path}", *super().command(*arguments)]


def create(url: str) -> Engine:
    """Make the tables as the first release made them in the empty database of a URL."""
    dialect = make_url(url).get_backend_name()
    engine = connect(url)
    statements = (RECORDED / f"{dialect}.sql").read_text().split(";\n")
    version = f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        for statement in (*filter(str.strip, statements), version):
            connection.execute(text(statement))
        connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES ('0001')"))
    return engine


def fill(engine: Engine, count: int, prefix: str = "h") -> None:
    """Add services as the first release wrote them: only its columns, all of them up."""
    metadata = MetaData()
    metadata.reflect(engine, only=["services"])
    services = metadata.tables["services"]
    now = utcnow()
    row = {
        "binary": "nova-compute", "topic": "compute", "zone": "nova", "version": 66,
        "incarnation": INCARNATION, "report_count": REPORTS,
        "created_at": now, "registered_at": now, "last_seen_up": now,
    }  # fmt: skip
    rows = [{"uuid": f"{prefix}-{n}", "host": f"{prefix}{n}"} for n in range(count)]
    write(engine, lambda connection: connection.execute(services.insert().values(row), rows))
