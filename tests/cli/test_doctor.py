"""``servicegroup doctor`` finds what is wrong, says the remedy, and fails only for failures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import select

from servers.process import LOOPBACK, free_port
from servers.redis import Redis
from servers.zookeeper import ZooKeeper
from servicegroup.cli.doctor import file_system
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.tables import listening, listening_gaps, observer
from support.control_plane import ControlPlane
from support.waiting import until

from .conftest import Desk, suspect

Found = dict[str, tuple[str, str]]


def _examined(result: Result) -> Found:
    """Return result and text of each check."""
    checks = json.loads(result.stdout)
    for check in checks:
        assert (check["result"] == "OK") == (check["remedy"] == ""), check
    return {c["check"]: (c["result"], f"{c['finding']} {c['remedy']}".strip()) for c in checks}


def _doctor(desk: Desk, code: int = 0) -> Found:
    result = desk.type("doctor", "-f", "json")
    assert result.exit_code == code, result.output
    return _examined(result)


def test_a_healthy_register_is_all_ok(desk: Desk, fleet: ServiceGroup) -> None:
    plane = ControlPlane(desk.connection, desk.directory)
    plane.start()
    try:
        until(lambda: (seen := fleet.observer_status()) and seen.is_current, what="the observer")
        # From filling the register to the start of the control plane, nobody listened.
        write(fleet._store.engine, lambda connection: connection.execute(listening_gaps.delete()))
        found = _doctor(desk)
    finally:
        plane.stop()
    assert {result for result, _ in found.values()} == {"OK"}, found
    assert set(found) == {
        "configuration", "timeouts", "database", "file system", "schema", "clock", "listening",
        "driver", "observer", "signals", "versions", "heartbeats", "answers",
        "forced down", "names",
    }  # fmt: skip
    assert str(desk.config) in found["configuration"][1]
    assert "60 s after the last report, that is 6.0 report intervals" in found["timeouts"][1]


@pytest.mark.parametrize("shadow", [False, True])
def test_options_of_a_driver_are_examined_without_a_database(
    bare_desk: Desk, *, shadow: bool
) -> None:
    """F-17: an option that no driver can use is a contradiction, with and without a record."""
    option = "servicegroup_shadow_driver" if shadow else "servicegroup_driver"
    for section, line in (
        ("redis", "url = redis://user:sec/ret@host:6379/0"),
        ("etcd", "endpoints = etcd1:2379"),
        ("memcached", "servers = mc1:0"),
        ("zookeeper", "prefix = servicegroups"),
    ):
        bare_desk.configure(**{option: section})
        with bare_desk.config.open("a") as config:
            config.write(f"[{section}]\n{line}\n")
        found = _doctor(bare_desk, code=1)
        assert list(found) == ["configuration"]
        assert found["configuration"][0] == "FAIL"
        assert f"[{section}] {line.split()[0]}" in found["configuration"][1]
        assert "sec/ret" not in found["configuration"][1]


def test_a_backend_is_examined_without_a_database(bare_desk: Desk) -> None:
    """F-17: what is wrong with it does not wait for the record."""
    bare_desk.configure(servicegroup_driver="memcached")
    with bare_desk.config.open("a") as config:
        config.write(f"[memcached]\nservers = {LOOPBACK}:{free_port()}\n")
    found = _doctor(bare_desk, code=1)
    assert found["database"][0] == "FAIL"
    assert found["backend"][0] == "FAIL"
    assert "cannot be asked" in found["backend"][1]


@pytest.mark.parametrize("registered", [True, False])
def test_a_backend_that_takes_no_writes_is_a_failure(
    desk: Desk, fleet: ServiceGroup, own_redis: Callable[..., Redis], *, registered: bool
) -> None:
    """F-1: it answers, and whoever restarts is missing from it; with and without a record."""
    server = own_redis()
    server.tell("CONFIG SET min-replicas-to-write 1")
    desk.configure(servicegroup_driver="redis")
    if not registered:
        desk.database.unlink()
    with desk.config.open("a") as config:
        config.write(f"[redis]\nurl = {server.url}\n")
    found = _doctor(desk, code=1)
    result, text = found["backend"]
    assert result == "FAIL"
    assert "takes no writes: NOREPLICAS Not enough good replicas to write; see INFO" in text
    assert text.endswith("Check section [redis] and the backend.")


def test_agents_that_cannot_heartbeat_are_named(desk: Desk, fleet: ServiceGroup) -> None:
    assert _doctor(desk)["heartbeats"][0] == "OK"
    one = fleet.services()[0]
    fleet.report([Report(one.uuid, one.incarnation, backend_error="etcd has no space left.")])
    result, text = _doctor(desk)["heartbeats"]
    assert result == "WARN"
    assert f"Agents cannot heartbeat for {one.binary} on {one.host}; the first hears:" in text
    assert "etcd has no space left. Check the backend" in text


def test_the_time_to_detect_has_the_death_of_a_leader_and_says_its_exception(
    desk: Desk, zookeeper_server: ZooKeeper
) -> None:
    """F-19."""
    desk.configure(servicegroup_driver="zookeeper")
    with desk.config.open("a") as config:
        config.write(f"[zookeeper]\naddress = {zookeeper_server.address}\n")
    result, text = _doctor(desk)["driver"]
    assert result == "OK"
    assert text == (
        "zookeeper finds a crash within 24 s; while its servers do not answer or have no quorum,"
        " silence is found after 60 s."
    )


def test_people_get_a_line_a_check(desk: Desk) -> None:
    result = desk.type("doctor")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"OK    configuration   {desk.config}, without contradictions."
    assert {line[:6] for line in lines} == {"OK    ", "WARN  "}


def test_a_contradiction_is_all_that_can_be_told(desk: Desk) -> None:
    desk.configure(report_interval=60, service_down_time=60)
    found = _doctor(desk, code=1)
    assert list(found) == ["configuration"]
    assert found["configuration"][0] == "FAIL"
    assert "service_down_time" in found["configuration"][1]


def test_timeouts_that_forgive_too_little_are_named(desk: Desk) -> None:
    desk.configure(report_interval=10, service_down_time=20)
    result, text = _doctor(desk)["timeouts"]
    assert result == "WARN"
    assert "20 s after the last report, that is 2.0 report intervals of 10 s." in text
    assert "Set service_down_time to 30 or more." in text


def test_no_register_is_a_failure(bare_desk: Desk) -> None:
    found = _doctor(bare_desk, code=1)
    assert found["database"][0] == "FAIL"
    assert "run servicegroup db upgrade" in found["database"][1]


def test_a_database_that_is_away_is_a_failure(bare_desk: Desk) -> None:
    bare_desk.connection = "mysql+pymysql://me@127.0.0.1:1/register"
    bare_desk.configure()
    found = _doctor(bare_desk, code=1)
    assert found["database"][0] == "FAIL"
    assert "127.0.0.1" in found["database"][1]


def test_a_schema_of_another_release_is_a_failure(desk: Desk, group: ServiceGroup) -> None:
    forget = "DELETE FROM servicegroup_version"
    write(group._store.engine, lambda connection: connection.exec_driver_sql(forget))
    found = _doctor(desk, code=1)
    assert list(found)[-1] == "schema"
    assert "run servicegroup db upgrade" in found["schema"][1]


def _mark(group: ServiceGroup, seconds_ago: float) -> None:
    with reading(group._store.engine) as connection:
        now = connection.scalar(select(utcnow()))
    assert now is not None
    stamp = now - timedelta(seconds=seconds_ago)

    def work(connection: object) -> None:
        connection.execute(listening.delete())  # type: ignore[attr-defined]
        connection.execute(listening.insert().values(id=1, marked_at=stamp))  # type: ignore[attr-defined]

    write(group._store.engine, work)


def test_nobody_listening_is_a_warning(desk: Desk, group: ServiceGroup) -> None:
    assert _doctor(desk)["listening"][1].startswith("No control plane has ever committed")
    _mark(group, 600)
    result, text = _doctor(desk)["listening"]
    assert result == "WARN"
    assert text.startswith("No control plane committed reports for 10 min")
    assert "Start servicegroup serve" in text


def test_gaps_of_the_last_day_are_counted(desk: Desk, group: ServiceGroup) -> None:
    with reading(group._store.engine) as connection:
        now = connection.scalar(select(utcnow()))
    assert now is not None
    for hours, minutes in ((1, 5), (2, 10), (50, 60)):
        start = now - timedelta(hours=hours)
        unheard = listening_gaps.insert().values(
            start_at=start, end_at=start + timedelta(minutes=minutes)
        )
        write(group._store.engine, lambda connection, unheard=unheard: connection.execute(unheard))  # type: ignore[misc]
    _mark(group, 0)
    result, text = _doctor(desk)["listening"]
    assert result == "WARN"
    assert "nobody listened 2 times, 15 min 0 s in all" in text


def test_nobody_observing_is_a_warning(desk: Desk, group: ServiceGroup) -> None:
    assert _doctor(desk)["observer"][1].startswith("No control plane observes: no event is")
    with reading(group._store.engine) as connection:
        now = connection.scalar(select(utcnow()))
    assert now is not None
    long_ago = now - timedelta(minutes=10)
    row = {"id": 1, "holder": "gone", "number": 1, "renewed_at": long_ago, "blind": False}
    late = observer.insert().values(**row, observed_at=long_ago)
    write(group._store.engine, lambda connection: connection.execute(late))
    result, text = _doctor(desk)["observer"]
    assert result == "WARN"
    assert text.startswith("No control plane observed for 10 min")
    assert "Start servicegroup serve" in text


def test_a_suspect_signal_is_named(desk: Desk, group: ServiceGroup) -> None:
    suspect(group)
    result, text = _doctor(desk)["signals"]
    assert result == "WARN"
    assert text.startswith("Protection: presence of group compute, zone nova is suspect since 2")
    assert "20 that lost it are up by their reports." in text


def test_a_stale_row_that_pins_a_version_is_named(desk: Desk, fleet: ServiceGroup) -> None:
    assert _doctor(desk)["versions"][0] == "OK"  # a conductor is down, but it pins nobody
    old = fleet.join("ancient", "nova-conductor", group="old", version=3)
    new = fleet.join("fresh", "nova-conductor", group="new", version=9)
    fleet.report([Report(new.uuid, new.incarnation)])
    fleet.update(old.uuid, forced_down=True)
    result, text = _doctor(desk)["versions"]
    assert result == "WARN"
    assert "nova-conductor on ctl" in text
    assert "ancient" not in text, "a forced-down service counts for no version"


def test_a_force_down_left_behind_is_named(desk: Desk, fleet: ServiceGroup) -> None:
    fleet.update(1, forced_down=True)
    fleet.update(3, forced_down=True)  # it has exited: rightly down
    result, text = _doctor(desk)["forced down"]
    assert result == "WARN"
    assert "nova-compute on cmp1." in text
    assert "ctl" not in text
    assert "force-down --unset" in text


def test_a_clock_that_is_off_is_a_warning(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from servicegroup.cli import doctor

    assert _doctor(desk)["clock"][0] == "OK"
    real = doctor._utcnow
    monkeypatch.setattr(doctor, "_utcnow", lambda: real() + timedelta(seconds=5))
    result, text = _doctor(desk)["clock"]
    assert result == "WARN"
    told = re.search(r"clock is (\d\.\d+) s behind this host's \(to (\d\.\d+) s\)", text)
    assert told, text
    # Each of the two is rounded by half a thousandth at the most.
    assert float(told[1]) == pytest.approx(5, abs=float(told[2]) + 0.0015)


MOUNTS = """\
/dev/vda1 / ext4 rw,relatime 0 0
filer:/home /home nfs4 rw 0 0
/dev/vdb /home/local xfs rw 0 0
me@host:/ /mnt/with\\040space fuse.sshfs rw 0 0
/dev/vdc /over ext4 rw 0 0
filer:/over /over cifs rw 0 0
"""


def test_hosts_whose_names_are_nearly_the_same_are_named(desk: Desk, group: ServiceGroup) -> None:
    """F-15."""
    group.join("node1", "worker")
    group.join("node2", "worker")
    assert _doctor(desk)["names"][0] == "OK"
    for host in ("Node1", " node1", "node1."):
        group.join(host, "worker")
    result, text = _doctor(desk)["names"]
    assert result == "WARN"
    assert "' node1' and 'Node1' and 'node1' and 'node1.'" in text
    assert "node2" not in text


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/var/lib/servicegroup/register.sqlite", "OK"),
        ("/home/me/register.sqlite", "FAIL"),
        ("/home/local/register.sqlite", "OK"),
        ("/homely/register.sqlite", "OK"),
        ("/mnt/with space/register.sqlite", "FAIL"),
        ("/over/register.sqlite", "FAIL"),
    ],
)
def test_sqlite_on_a_shared_disk_is_a_failure(path: str, result: str) -> None:
    assert file_system(Path(path), MOUNTS).result == result


def test_the_databases_of_other_kinds_are_examined_too(desk: Desk, postgresql: object) -> None:
    connection = postgresql.database()  # type: ignore[attr-defined]
    desk.connection = connection
    desk.configure()
    assert desk.type("db", "upgrade").exit_code == 0
    found = _doctor(desk)
    assert "postgresql" in found["database"][1]
    assert "file system" not in found
    assert found["clock"][0] == "OK"
