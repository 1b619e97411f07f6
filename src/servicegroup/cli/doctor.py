"""``servicegroup doctor``: what is wrong with this register, or will be, each with its remedy.

A check looks at one thing and returns one finding. Later checks need what earlier ones found
working, so the examination ends where nothing more can be told.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from servicegroup.cli.checks import (
    Check,
    deaf,
    detection,
    forced_down,
    near_twins,
    observer,
    pinned_versions,
    refused_heartbeats,
    signals,
)
from servicegroup.cli.database_checks import database_checks
from servicegroup.cli.galera_checks import galera_checks
from servicegroup.cli.local import connect, open_group, sqlite_file
from servicegroup.cli.output import Column, output_options, pick, print_items, printable
from servicegroup.errors import ConfigError, DriverUnavailable, ServiceGroupError
from servicegroup.explanation import duration
from servicegroup.liveness import MARK_TOLERANCE
from servicegroup.model import Member, PresenceState, Service

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from servicegroup.config import Settings
    from servicegroup.driver import Driver
    from servicegroup.group import ServiceGroup

MOST_OFFSET = 1.0
"""Seconds by which this host's clock may differ from the database's before it is worth a word."""

FEWEST_MISSES = 3
"""Reports or heartbeats in a row that should get lost before anybody is accused."""

_SHARED = ("nfs", "cifs", "smb", "ceph", "gluster", "lustre", "gpfs", "ocfs", "gfs2", "9p", "sshfs")


COLUMNS: list[Column[Check]] = [
    Column("Result", lambda c: c.result),
    Column("Check", lambda c: c.check),
    Column("Finding", lambda c: c.finding),
    Column("Remedy", lambda c: c.remedy),
]


@click.command()
@output_options()
@click.pass_context
def doctor(ctx: click.Context, names: Sequence[str], form: str) -> None:
    """Check the configuration, the database, the clocks and what was left behind.

    Opens the register in process. The exit code is 1 if a check says FAIL; WARN is 0.
    """
    columns = pick(COLUMNS, names, form)
    checks = examine(ctx.find_root().params["config_file"])
    if form == "table" and not names:
        found = list(print_checks(checks))
    else:
        found = list(checks)
        print_items(form, columns, found)
    ctx.exit(1 if any(check.result == "FAIL" for check in found) else 0)


def print_checks(checks: Iterator[Check]) -> Iterator[Check]:
    """Print each check on its line, as soon as it is known."""
    colours = {"OK": "green", "WARN": "yellow", "FAIL": "red"}
    for check in checks:
        word = click.style(f"{check.result:4}", fg=colours[check.result])
        text = printable(f"{check.finding} {check.remedy}".rstrip())
        click.echo(f"{word}  {check.check:14}  {text}")
        yield check


def examine(config_file: str | None) -> Iterator[Check]:
    """Check one thing after the other, for as long as there is something to look at."""
    from servicegroup import config, keystone_settings

    try:
        settings = config.load(config_file)
        if settings.auth_strategy == "keystone":
            keystone_settings.for_libraries(settings)  # what only a request would miss (F-41)
        drivers = _drivers(settings)
    except ConfigError as error:
        yield Check("FAIL", "configuration", str(error), "Nothing else can be checked.")
        return
    yield Check("OK", "configuration", f"{settings.source}, without contradictions.")
    yield _reports(settings)
    try:
        yield from _register(settings, drivers)
    finally:
        for driver in drivers:
            driver.close()


def _drivers(settings: Settings) -> list[Driver]:
    """Return the drivers of the configuration, which refuse options that cannot be used.

    None of them connects before it is asked. Raises ConfigError.
    """
    from servicegroup.driver import load

    chosen = [settings.driver, settings.shadow_driver]
    return [load(choice.name, choice.options) for choice in chosen if choice is not None]


def _register(settings: Settings, drivers: Sequence[Driver]) -> Iterator[Check]:
    """Check the record, and the backends also where there is no record to ask (F-17)."""
    for name, part in (("database", _database), ("schema", _schema)):
        try:
            yield from part(settings)
        except ServiceGroupError as error:
            yield Check("FAIL", name, str(error), "Of the record nothing else can be checked.")
            for driver in drivers:
                yield from backend(driver)
            return
    try:
        yield from _services(settings)
    except ServiceGroupError as error:
        yield Check("FAIL", "services", str(error), "Nothing else can be checked.")


# -- arithmetic ----------------------------------------------------------------------------------


def _reports(settings: Settings) -> Check:
    down, every = settings.limits.service_down_time, settings.limits.report_interval
    finding = (
        f"Silence is found {duration(down)} after the last report, that is {down / every:.1f}"
        f" report intervals of {duration(every)}."
    )
    if down < FEWEST_MISSES * every:
        remedy = f"Set service_down_time to {FEWEST_MISSES * every:g} or more."
        return Check("WARN", "timeouts", finding + " One lost packet can accuse a service.", remedy)
    return Check("OK", "timeouts", finding)


def _presence(settings: Settings, group: ServiceGroup, services: Sequence[Service]) -> Check:
    """Check the driver: what it detects by which arithmetic, and whether it answers now."""
    driver, bound = group.driver, group.detection_time(group.driver)
    if bound is None:
        return Check("OK", "driver", f"{driver.name} has no signal of its own; reports decide.")
    beat, ttl = settings.limits.heartbeat_interval, settings.limits.membership_ttl
    recorded = driver.capabilities.recorded
    finding = detection(driver.name, bound, settings.limits, recorded=recorded)
    presences = [s.judged.evidence.presence for s in services]
    unknown = [p for p in presences if p is not None and p.state is PresenceState.UNKNOWN]
    if unknown:
        finding = f"{driver.name} cannot tell for {len(unknown)} services: {unknown[0].detail}."
        return Check("FAIL", "driver", finding, f"Check section [{driver.name}] and the backend.")
    if ttl < FEWEST_MISSES * beat:
        remedy = f"Set membership_ttl to {FEWEST_MISSES * beat:g} or more."
        lost = f" {ttl / beat:.1f} lost heartbeats in a row can accuse a service."
        return Check("WARN", "driver", finding + lost, remedy)
    return Check("OK", "driver", finding)


def backend(driver: Driver) -> Iterator[Check]:
    """Pass on what the driver says of its backend, such as evictions or a changed timeout.

    One that takes no writes is of no use, however well it answers (F-1).
    """
    try:
        driver.prove(Member("doctor", "doctor"))
        warnings = driver.warnings()
    except DriverUnavailable as error:
        yield Check(
            "FAIL", "backend", str(error), f"Check section [{driver.name}] and the backend."
        )
        return
    for warning in warnings:
        finding, _, remedy = warning.partition(": ")
        yield Check("WARN", "backend", f"{finding}.", remedy[:1].upper() + remedy[1:])


# -- the database --------------------------------------------------------------------------------


def _database(settings: Settings) -> Iterator[Check]:
    with _connected(settings) as engine:
        yield _answer(engine)
        yield from database_checks(engine)
        yield from galera_checks(engine)
        if (path := sqlite_file(engine)) is not None:
            yield file_system(path, Path("/proc/self/mounts").read_text())


def _schema(settings: Settings) -> Iterator[Check]:
    from servicegroup.store import migrate

    with _connected(settings) as engine:
        migrate.require_current(engine)
        yield Check("OK", "schema", f"Version {migrate.head()}, as this release needs.")
        yield _clock(engine)
        yield _listening(engine)


@contextmanager
def _connected(settings: Settings) -> Iterator[Engine]:
    engine = connect(settings)
    try:
        yield engine
    finally:
        engine.dispose()


def _answer(engine: Engine) -> Check:
    from servicegroup.store.addresses import redacted
    from servicegroup.store.database import reading

    with reading(engine) as connection:
        info = connection.dialect.server_version_info or ()
        started = time.monotonic()
        connection.exec_driver_sql("SELECT 1")
        took = (time.monotonic() - started) * 1000
    where, name = redacted(engine.url), engine.dialect.name
    version = ".".join(str(part) for part in info)
    return Check("OK", "database", f"{where} answers in {took:.0f} ms, {name} {version}.")


def file_system(path: Path, mounts: str) -> Check:
    """Check that SQLite is on a disk of this host, as its locks need (SQL-18).

    ``mounts`` is what the kernel says in /proc/self/mounts; a later line hides an earlier one.
    """
    at = path.resolve()
    points = [line.split()[1:3] for line in reversed(mounts.splitlines())]
    above = [(p, kind) for p, kind in points if at.is_relative_to(p.replace("\\040", " "))]
    kind = max(above, key=lambda point: len(point[0]), default=("", "unknown"))[1]
    finding = f"{path} is on {kind}."
    if any(name in kind for name in _SHARED):
        remedy = "Move it to a local disk, or to PostgreSQL or MariaDB."
        return Check("FAIL", "file system", finding + " SQLite loses data on shared disks.", remedy)
    return Check("OK", "file system", finding)


def _clock(engine: Engine) -> Check:
    """Compare the two clocks at the middle of a question, which bounds the error by half of it."""
    now, _, before, after = _database_times(engine)
    offset = (now - (before + (after - before) / 2)).total_seconds()
    uncertain = (after - before).total_seconds() / 2
    ahead = "ahead of" if offset > 0 else "behind"
    finding = (
        f"The database's clock is {abs(offset):.3f} s {ahead} this host's (to {uncertain:.3f} s)."
    )
    if abs(offset) - uncertain > MOST_OFFSET:
        remedy = "Verdicts use the database's alone, but logs will not match: check NTP on both."
        return Check("WARN", "clock", finding, remedy)
    return Check("OK", "clock", finding)


def _listening(engine: Engine) -> Check:
    """Check that an intake commits reports, for only then does silence count."""
    from servicegroup.store.database import reading
    from servicegroup.store.marks import newest_unheard

    now, marked_at, *_ = _database_times(engine)
    start = "Start servicegroup serve, or see its log."
    if marked_at is None:
        return Check("WARN", "listening", "No control plane has ever committed reports.", start)
    age = (now - marked_at).total_seconds()
    if age > MARK_TOLERANCE:
        finding = f"No control plane committed reports for {duration(age)}; nobody goes silent."
        return Check("WARN", "listening", finding, start)
    with reading(engine) as connection:
        recent = [one for one in newest_unheard(connection) if one.end > now - timedelta(days=1)]
    finding = f"Reports were committed {duration(max(0.0, age))} ago."
    if recent:
        total = sum((one.end - one.start).total_seconds() for one in recent)
        finding += f" In a day, nobody listened {len(recent)} times, {duration(total)} in all."
        remedy = "Fine after restarts; else see the logs of control plane and database."
        return Check("WARN", "listening", finding, remedy)
    return Check("OK", "listening", finding)


def _database_times(engine: Engine) -> tuple[datetime, datetime | None, datetime, datetime]:
    """Return the database's now, the latest mark, and this host's clock before and after."""
    from sqlalchemy import select

    from servicegroup.store.clock import utcnow
    from servicegroup.store.database import reading
    from servicegroup.store.marks import latest_mark

    with reading(engine) as connection:
        before = _utcnow()
        now, marked_at = connection.execute(select(utcnow(), latest_mark())).one()
        return now, marked_at, before, _utcnow()


def _utcnow() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


# -- what was left behind ------------------------------------------------------------------------


def _services(settings: Settings) -> Iterator[Check]:
    group = open_group(settings)
    try:
        services = group.services()
        yield _presence(settings, group, services)
        for driver, _ in group.drivers():
            yield from backend(driver)
        yield observer(group)
        yield from signals(group)
        yield pinned_versions(services)
        yield refused_heartbeats(services)
        yield deaf(services)
        yield forced_down(services)
        yield near_twins(services)
    finally:
        group.close()
