"""The second signal: by its own path and thread, obeying the same orders as the first.

The backend is a directory, which is enough to be a backend: a file is a member's presence.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from servicegroup import driver
from servicegroup.agent.client import DriverSettings, HttpClient, Joined, Terms
from servicegroup.agent.heartbeats import own_options
from servicegroup.agent.join import Membership, State, join
from servicegroup.driver import Driver, Watcher
from servicegroup.errors import DriverUnavailable
from servicegroup.messages import Leave, Refusals, Report, Reported
from servicegroup.model import Member, Presence, PresenceState
from support.control_plane import ControlPlane
from support.waiting import until

TTL = 0.4


class DirectoryDriver(Driver):
    """Presence as files; one called ``down`` makes it fail, one called ``hung`` makes it hang."""

    name = "directory"

    class Options(driver.Options, frozen=True):
        path: str

    options: Options

    def _file(self, member: Member, incarnation: int) -> Path:
        path = Path(self.options.path)
        until(lambda: not (path / "hung").exists(), timeout=60)
        if (path / "down").exists():
            why = (path / "down").read_text()
            raise DriverUnavailable(f"The directory is down{why and ': '}{why}.")
        return path / f"{member.group} {member.host} {incarnation}"

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        assert ttl == TTL
        self._file(member, incarnation).write_text(str(time.monotonic_ns()))

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        assert incarnation is not None, "an agent leaves for itself only"
        self._file(member, incarnation).unlink(missing_ok=True)

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        return dict.fromkeys(members, Presence(PresenceState.UNKNOWN))

    def watch(self, callback: Watcher) -> None: ...

    def detection_time(self, ttl: float) -> float:
        return ttl

    def warnings(self) -> list[str]:
        return []

    def shared_options(self) -> dict[str, Any]:
        return {"path": self.options.path}

    def close(self) -> None:
        (Path(self.options.path) / "closed").touch()


class NamingClient(HttpClient):
    """A control plane's client that also names drivers, and sees what is there at the leave."""

    def __init__(self, url: str, *drivers: DriverSettings) -> None:
        super().__init__(url)
        self.drivers = drivers
        self.renewals = 0
        self.fingerprint = "0"
        self.present_at_leave: list[str] = []

    def register(self, host: str, binary: str, group: str, zone: str, version: int) -> Joined:
        joined = super().register(host, binary, group, zone, version)
        return msgspec.structs.replace(
            joined,
            heartbeat_interval=0.1,
            membership_ttl=TTL,
            drivers=self.drivers,
            fingerprint=self.fingerprint,
        )

    def renew(self, *drivers: DriverSettings) -> None:
        """Name other drivers, as a control plane does that was restarted with them."""
        self.drivers = drivers
        self.fingerprint = "1"

    def report(self, reports: Sequence[Report]) -> Reported:
        return msgspec.structs.replace(super().report(reports), terms=self.fingerprint)

    def terms(self) -> Terms:
        self.renewals += 1
        return msgspec.structs.replace(
            super().terms(),
            heartbeat_interval=0.1,
            membership_ttl=TTL,
            drivers=self.drivers,
            fingerprint=self.fingerprint,
        )

    def leave(self, leaves: Sequence[Leave]) -> Refusals:
        for settings in self.drivers:
            self.present_at_leave += members(Path(settings.options["path"]))
        return super().leave(leaves)


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory that is the backend, of a driver as if it were installed."""
    real = driver.load

    def load(name: str, options: dict[str, Any]) -> Driver:
        mine = name == DirectoryDriver.name
        return DirectoryDriver.from_options(options) if mine else real(name, options)

    monkeypatch.setattr(driver, "load", load)
    path = tmp_path / "backend"
    path.mkdir()
    return path


def at(path: Path, *, shadow: bool = False) -> DriverSettings:
    return DriverSettings("directory", shadow, {"path": str(path)})


def members(path: Path) -> list[str]:
    return sorted(found.name for found in path.iterdir() if " " in found.name)


def beats_on(path: Path, name: str) -> None:
    file = path / name
    seen = file.read_text() if file.exists() else ""
    until(lambda: file.exists() and file.read_text() not in ("", seen), what=f"{name} beats")


@contextmanager
def joined(client: NamingClient, host: str, **options: Any) -> Iterator[Membership]:
    with closing(client), join("worker", host=host, client=client, **options) as membership:
        yield membership


def test_heartbeats_from_the_registration_to_the_leave(
    plane: ControlPlane, host: str, backend: Path
) -> None:
    client = NamingClient(plane.url, at(backend))
    with joined(client, host):
        beats_on(backend, f"worker {host} 1")
        beats_on(backend, f"worker {host} 1")
    assert members(backend) == []
    assert (backend / "closed").exists()
    assert client.present_at_leave == [f"worker {host} 1"], "the register is told first"


def test_what_the_backend_says_reaches_the_register_with_the_reports(
    plane: ControlPlane, host: str, backend: Path, tmp_path: Path
) -> None:
    """F-1: first of the driver that is obeyed, as one line; and until heartbeats succeed again."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    client = NamingClient(plane.url, at(shadow, shadow=True), at(backend))

    def heard() -> Any:
        url = f"{plane.url}/v1/services/{membership.uuid}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["service"]["verdict"]["evidence"]["backend_error"]

    with joined(client, host) as membership:
        beats_on(shadow, f"worker {host} 1")
        assert heard() is None
        (shadow / "down").touch()
        until(lambda: heard() == "The directory is down.", what="the shadow's word")
        (backend / "down").write_text("of the obeyed one")
        until(lambda: heard() == "The directory is down: of the obeyed one.", what="its word")
        (backend / "down").unlink()
        until(lambda: heard() == "The directory is down.", what="the shadow's word again")
        (shadow / "down").unlink()
        until(lambda: heard() is None, what="that heartbeats succeed")


def test_each_driver_has_a_thread_of_its_own(
    plane: ControlPlane, host: str, backend: Path, tmp_path: Path
) -> None:
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    before = set(threading.enumerate())
    with joined(NamingClient(plane.url, at(backend), at(shadow, shadow=True)), host) as membership:
        beats_on(shadow, f"worker {host} 1")
        threads = set(threading.enumerate()) - before
        assert len(threads) == 3
        assert all(thread.daemon for thread in threads)
        (backend / "hung").touch()
        beats_on(shadow, f"worker {host} 1")
        before_hanging = membership.last_report
        until(lambda: membership.last_report != before_hanging)
        assert membership.state is State.REPORTING
        (backend / "hung").unlink()


def test_a_report_that_hangs_delays_no_heartbeat(
    control_plane: ControlPlane, host: str, backend: Path
) -> None:
    with joined(NamingClient(control_plane.url, at(backend)), host):
        beats_on(backend, f"worker {host} 1")
        control_plane.freeze()
        for _ in range(10):
            beats_on(backend, f"worker {host} 1")
        control_plane.thaw()


def test_a_leave_is_bounded_by_its_timeout_while_the_backend_hangs(
    plane: ControlPlane, host: str, backend: Path
) -> None:
    with joined(NamingClient(plane.url, at(backend)), host) as membership:
        beats_on(backend, f"worker {host} 1")
        (backend / "hung").touch()
        began = time.monotonic()
        membership.leave(timeout=0.5)
        assert time.monotonic() - began < 2
        (backend / "hung").unlink()
        until(lambda: not members(backend), what="it leaves once it can")


def test_a_lost_backend_is_told_once_and_joined_again(
    plane: ControlPlane, host: str, backend: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with joined(NamingClient(plane.url, at(backend)), host) as membership:
        beats_on(backend, f"worker {host} 1")
        (backend / "down").touch()
        until(lambda: "lost driver directory: The directory is down." in caplog.text)
        assert membership.state is State.REPORTING
        (backend / f"worker {host} 1").unlink()
        (backend / "down").unlink()
        beats_on(backend, f"worker {host} 1")
        until(lambda: "recovered driver directory" in caplog.text)
    assert caplog.text.count("lost driver directory") == 1
    assert caplog.text.count("recovered driver directory") == 1


def test_a_driver_that_is_not_installed_stops_no_report(
    plane: ControlPlane, host: str, backend: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = DriverSettings("carrier-pigeon", options={"path": str(backend)})
    with joined(NamingClient(plane.url, missing), host) as membership:
        until(lambda: "lost driver carrier-pigeon: There is no driver" in caplog.text)
        assert membership.state is State.REPORTING


def test_who_does_not_work_is_not_present_after_the_time_to_live(
    plane: ControlPlane, host: str, backend: Path
) -> None:
    answers: list[str | None] = [None]
    client = NamingClient(plane.url, at(backend))
    with joined(client, host, healthy=lambda: answers[-1]):
        beats_on(backend, f"worker {host} 1")
        answers.append("The disk is full.")
        until(lambda: not members(backend))
        answers.append(None)
        beats_on(backend, f"worker {host} 1")


def test_a_new_incarnation_takes_the_place_of_the_old_one(
    plane: ControlPlane, host: str, backend: Path
) -> None:
    client = NamingClient(plane.url, at(backend))
    with joined(client, host) as membership:
        beats_on(backend, f"worker {host} 1")
        assert membership.uuid is not None
        HttpClient.leave(client, [Leave(membership.uuid, 1)])
        until(lambda: members(backend) == [f"worker {host} 2"])
        assert membership.incarnation == 2


def test_a_driver_that_is_no_longer_named_is_left(
    plane: ControlPlane, host: str, backend: Path
) -> None:
    client = NamingClient(plane.url, at(backend))
    with joined(client, host) as membership:
        beats_on(backend, f"worker {host} 1")
        client.renew()
        until(lambda: not members(backend))
        assert membership.incarnation == 1


def test_a_driver_whose_options_changed_expires_instead_of_being_left(
    plane: ControlPlane, host: str, backend: Path, tmp_path: Path
) -> None:
    """Both handles may reach the same servers, and leaving would undo the new one's joining."""
    successor = tmp_path / "successor"
    successor.mkdir()
    client = NamingClient(plane.url, at(backend))
    with joined(client, host):
        beats_on(backend, f"worker {host} 1")
        client.renew(at(successor))
        beats_on(successor, f"worker {host} 1")
        until(lambda: (backend / "closed").exists())
        assert members(backend) == [f"worker {host} 1"]


def test_a_handle_goes_on_until_its_successor_has_joined(
    plane: ControlPlane, host: str, backend: Path, tmp_path: Path
) -> None:
    """ZooKeeper's node ends with its session: between two handles the member would be absent."""
    successor = tmp_path / "successor"  # where nobody can join yet
    client = NamingClient(plane.url, at(backend))
    with joined(client, host):
        beats_on(backend, f"worker {host} 1")
        client.renew(at(successor))
        until(lambda: client.renewals == 1)
        beats_on(backend, f"worker {host} 1")
        beats_on(backend, f"worker {host} 1")
        assert not (backend / "closed").exists()
        successor.mkdir()
        beats_on(successor, f"worker {host} 1")
        until(lambda: (backend / "closed").exists())


def test_a_shadow_that_becomes_the_driver_goes_on_undisturbed(
    plane: ControlPlane, host: str, backend: Path
) -> None:
    """Design section 7: on the day of the change nothing happens."""
    client = NamingClient(plane.url, at(backend, shadow=True))
    with joined(client, host) as membership:
        beats_on(backend, f"worker {host} 1")
        client.renew(at(backend))
        until(lambda: client.renewals == 1)
        beats_on(backend, f"worker {host} 1")
        beats_on(backend, f"worker {host} 1")
        assert not (backend / "closed").exists()
        assert membership.incarnation == 1


def test_deleted_leaves_the_backend(plane: ControlPlane, host: str, backend: Path) -> None:
    with joined(NamingClient(plane.url, at(backend)), host) as membership:
        beats_on(backend, f"worker {host} 1")
        plane.request("DELETE", f"/v1/services/{membership.uuid}")
        until(lambda: membership.state is State.DELETED)
        until(lambda: not members(backend))


def test_superseded_leaves_the_backend_to_its_successor(
    plane: ControlPlane, host: str, backend: Path
) -> None:
    with joined(NamingClient(plane.url, at(backend)), host) as older:
        beats_on(backend, f"worker {host} 1")
        until(lambda: older.beats >= 2)
        with joined(NamingClient(plane.url, at(backend)), host):
            until(lambda: older.state is State.SUPERSEDED)
            until(lambda: members(backend) == [f"worker {host} 2"])
            beats_on(backend, f"worker {host} 2")


def test_a_forked_child_leaves_no_backend(plane: ControlPlane, host: str, backend: Path) -> None:
    with joined(NamingClient(plane.url, at(backend)), host) as membership:
        beats_on(backend, f"worker {host} 1")
        child = os.fork()
        if child == 0:
            membership.leave()
            os._exit(0)
        os.waitpid(child, 0)
        assert members(backend) == [f"worker {host} 1"]
        beats_on(backend, f"worker {host} 1")


def test_this_hosts_own_options_come_on_top() -> None:
    settings = DriverSettings("etcd", False, {"endpoints": "http://a", "prefix": "/p"})
    environment = {"OS_ETCD__PASSWORD": "secret", "OS_ETCD__PREFIX": "/q", "OS_REDIS__URL": "x"}
    assert own_options(settings, environment) == {
        "endpoints": "http://a",
        "prefix": "/q",
        "password": "secret",
    }


class OwningDriver(DirectoryDriver):
    """A file belongs to the handle that wrote it last and goes with it, as a lease's key does.

    A heartbeat waits while a file has the handle's name.
    """

    name = "owning"

    class Options(DirectoryDriver.Options, frozen=True):
        handle: str

    options: Options

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        path, own = Path(self.options.path), self.options.handle
        if (path / own).exists():
            (path / f"{own}-waits").touch()
            until(lambda: not (path / own).exists(), timeout=60)
        written = path / f"{own}-writes"
        written.write_text(own)
        written.replace(self._file(member, incarnation))

    def shared_options(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self.options)

    def close(self) -> None:
        path = Path(self.options.path)
        for found in members(path):
            if (path / found).read_text() == self.options.handle:
                (path / found).rename(path / f"{self.options.handle}-ended-it")
        (path / f"{self.options.handle}-closed").touch()


def test_a_former_handle_takes_nobody_with_it(
    plane: ControlPlane, host: str, backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ET-1: its last heartbeat is under way while the next handle joins, and ends after that."""
    monkeypatch.setattr(driver, "load", lambda _, options: OwningDriver.from_options(options))
    first, second = (
        DriverSettings("owning", options={"path": str(backend), "handle": handle})
        for handle in ("first", "second")
    )
    client = NamingClient(plane.url, first)
    with joined(client, host):
        until(lambda: members(backend), what="the first handle has joined")
        (backend / "first").touch()
        until((backend / "first-waits").exists, what="a heartbeat is under way")
        client.renew(second)
        owner = backend / members(backend)[0]
        until(lambda: owner.read_text() == "second", what="the second handle has joined")
        (backend / "first").unlink()
        until((backend / "first-closed").exists, what="the first handle has ended")
        assert not (backend / "first-ended-it").exists()
        assert owner.read_text() == "second"
