"""Members of one group whose two signals a test has in its hand, one by one."""

from __future__ import annotations

from servers.process import PATIENCE
from servicegroup.driver import Driver
from servicegroup.messages import Registration
from servicegroup.model import Member
from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.waiting import until


class Workers:
    """``w0``, ``w1`` and so on: they report over HTTP and, while present, are in the backend."""

    group = "worker"

    def __init__(self, plane: ControlPlane, driver: Driver, count: int, ttl: float) -> None:
        self.plane = plane
        self._driver = driver
        self._ttl = ttl
        self._lives: dict[Member, Registration] = {}
        for number in range(count):
            member = Member(self.group, f"w{number}")
            joining = {"host": member.host, "binary": self.group}
            status, _, joined = plane.request("POST", "/v1/services", joining)
            assert status == 200, joined
            self._lives[member] = Registration(joined["uuid"], joined["incarnation"])
        self.present = set(self._lives)

    def report(self, *lives: Registration) -> None:
        """Report for these lives."""
        reports = [{"uuid": life.uuid, "incarnation": life.incarnation} for life in lives]
        status, _, answer = self.plane.request("POST", "/v1/reports", {"reports": reports})
        assert status == 200, answer

    def beat(self) -> Scrape:
        """Report for all, keep those present that are, and scrape."""
        for member in self.present:
            self._driver.heartbeat(member, self._lives[member].incarnation, self._ttl)
        self.report(*self._lives.values())
        return Scrape.of(self.plane)

    def vanish(self, count: int) -> None:
        """Take the first that are present out of the backend; their reports go on."""
        for member in sorted(self.present)[:count]:
            self.present.remove(member)
            self._driver.leave(member)

    def come_back(self) -> None:
        """Be present again, all of them."""
        self.present = set(self._lives)

    def until(self, value: float, name: str, **labels: str) -> Scrape:
        """Beat until a metric has this value, and return the scrape that has it."""

        def reached() -> Scrape | None:
            scrape = self.beat()
            return scrape if scrape.total(name, **labels) == value else None

        return until(reached, PATIENCE, what=f"{name} {labels} to be {value:g}")
