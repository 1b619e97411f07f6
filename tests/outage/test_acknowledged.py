"""No lost acknowledgement: what was answered is in the register, whoever was killed since.

200 services report, restart, leave, are edited and deleted through two control planes, while these
and the database are killed at random, in rounds. In the end the tables are compared with what
every client was told. ACKNOWLEDGED_ROUNDS sets how many rounds there are for each database, and
ACKNOWLEDGED_SEED repeats their order.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from servers.mariadb import MariaDB
from servers.postgresql import PostgreSQL
from servers.process import PATIENCE
from servicegroup.agent.connection import Connection
from servicegroup.agent.watch import watch
from servicegroup.errors import ControlPlaneUnavailable
from servicegroup.store.database import connect
from support.control_plane import ControlPlane
from support.ledger import Account, Register, broken, moment
from support.waiting import until

pytestmark = pytest.mark.long

ROUNDS = int(os.environ.get("ACKNOWLEDGED_ROUNDS", "2"))
SEED = int(os.environ.get("ACKNOWLEDGED_SEED") or random.randrange(10**6))

CLIENTS = 8
SERVICES = 25
"""Of each client; each is registered, reported and edited by itself."""

PAUSE = 0.01
"""Seconds between two requests of a client."""

TIMEOUT = 5.0
"""Seconds after which a client takes a request for lost."""

LAST = "the-last"
"""The host of the service that registers when all is over."""

HEADERS = {"Content-Type": "application/json"}


class Client:
    """Acts for services of its own, one request at a time, and keeps their accounts."""

    def __init__(self, number: int, urls: list[str], seed: str) -> None:
        self._random = random.Random(seed)
        self._planes = [Connection(url) for url in urls]
        self._hosts = [f"c{number}-{n}" for n in range(SERVICES)]
        self._current: dict[str, Account] = {}
        self._edits = 0
        self.accounts: list[Account] = []
        self.lies: list[str] = []

    def acknowledged(self) -> int:
        """Return how many acknowledgements there are by now."""
        return sum(account.acknowledged() for account in list(self.accounts))

    def act(self) -> None:
        """Do what comes next for one of the services."""
        host = self._random.choice(self._hosts)
        account = self._current.get(host)
        if account is None:
            self._register(host)
            return
        chance = self._random.random()
        if chance < 0.85:
            self._report(host, account)
        elif chance < 0.90:
            self._edit(account)
        elif chance < 0.95:
            self._leave(account)
        elif chance < 0.98:
            self._register(host)
        else:
            self._delete(account)

    def close(self) -> None:
        """Close the connections."""
        for plane in self._planes:
            plane.close()

    def _register(self, host: str) -> None:
        body = self._ask("POST", "/v1/services", {"host": host, "binary": "worker"})
        if body is None:
            return
        account = self._current.get(host)
        if account is None or account.uuid != body["uuid"]:
            account = self._current[host] = Account(body["uuid"], set())
            self.accounts.append(account)
        elif body["incarnation"] <= account.incarnation:
            self.lies.append(f"{account} began life {body['incarnation']} once more")
        account.lives.add(body["incarnation"])

    def _report(self, host: str, account: Account) -> None:
        sent_at = moment()
        account.reports_sent += 1
        report = {"uuid": account.uuid, "incarnation": account.incarnation}
        refused = self._ask("POST", "/v1/reports", {"reports": [report]})
        if refused is None:
            return
        kinds = {kind for kind in ("deleted", "superseded", "left", "unknown") if refused[kind]}
        if account.deleted and kinds != {"deleted"}:
            self.lies.append(f"{account} was deleted, and reported: {kinds}")
        if "unknown" in kinds:
            self.lies.append(f"{account} is unknown")
        if kinds:  # perhaps by what was sent and never acknowledged
            if "deleted" in kinds:
                del self._current[host]
            self._register(host)
        else:
            account.reports_acknowledged += 1
            account.sent_at = sent_at

    def _edit(self, account: Account) -> None:
        self._edits += 1
        reason = f"edit {self._edits}"
        account.edits_sent.append(reason)
        wanted = {"disabled": True, "disabled_reason": reason}
        if self._ask("PATCH", f"/v1/services/{account.uuid}", wanted) is not None:
            account.edits.append(reason)

    def _leave(self, account: Account) -> None:
        life = account.incarnation
        leave = {"uuid": account.uuid, "incarnation": life, "how": "stopped"}
        refused = self._ask("POST", "/v1/leave", {"leaves": [leave]})
        if refused is not None and not any(refused.values()):
            account.leaves.add(life)

    def _delete(self, account: Account) -> None:
        if self._ask("DELETE", f"/v1/services/{account.uuid}") is not None:
            account.deleted = True

    def _ask(self, method: str, path: str, content: Any = None) -> dict[str, Any] | None:
        """Return the answer of one control plane, asked once, or None for no acknowledgement."""
        body = None if content is None else msgspec.json.encode(content)
        try:
            plane = self._random.choice(self._planes)
            reply = plane.request(method, path, body, HEADERS, TIMEOUT)
        except ControlPlaneUnavailable:
            return None
        if reply.status not in (200, 204):
            assert reply.status in (404, 503), reply
            return None
        answer: dict[str, Any] = msgspec.json.decode(reply.body) if reply.body else {}
        return answer


class Fleet:
    """A database and two control planes that are killed, under clients that go on."""

    def __init__(self, server: PostgreSQL | MariaDB, directory: Path) -> None:
        self.server = server
        url = server.database()
        self.engine = connect(url)
        self.planes = [
            ControlPlane(url, directory, report_interval=2, service_down_time=60) for _ in range(2)
        ]
        self.urls = [plane.url for plane in self.planes]
        self.clients = [Client(n, self.urls, f"{SEED}-{n}") for n in range(CLIENTS)]
        self.followed: list[int] = []
        self._stop = threading.Event()
        self._follower = threading.Thread(target=self._follow, daemon=True)

    def accounts(self) -> list[Account]:
        """Return what the clients know of every record of theirs by now."""
        return [account for client in self.clients for account in list(client.accounts)]

    def acknowledged(self) -> int:
        """Return how many acknowledgements all clients have."""
        return sum(client.acknowledged() for client in self.clients)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run all of it, the clients until the end of the block and the follower to the last."""
        try:
            for plane in self.planes:
                plane.start()
            self._follower.start()
            with ThreadPoolExecutor(CLIENTS) as pool:
                acting = [pool.submit(self._act, client) for client in self.clients]
                try:
                    yield
                finally:
                    self._stop.set()
            for one in acting:
                one.result()
            self.planes[0].request("POST", "/v1/services", {"host": LAST, "binary": "worker"})
            self._follower.join(PATIENCE)
        finally:
            for plane in self.planes:
                plane.stop()

    def _act(self, client: Client) -> None:
        while not self._stop.wait(PAUSE):
            client.act()
        client.close()

    def _follow(self) -> None:
        for event in watch(",".join(self.urls), after=0):
            self.followed.append(event.id)
            if event.host == LAST:
                return

    def kill(self, chance: random.Random) -> None:
        """Kill one, two or all three at a random moment, and start them again a moment later."""
        time.sleep(chance.uniform(0.1, 0.6))  # any moment is as good as another
        victims = chance.sample([self.server, *self.planes], chance.choice([1, 1, 2, 3]))
        for victim in victims:
            victim.kill()
        time.sleep(chance.uniform(0, 0.5))  # the outage is the subject
        if self.server in victims:
            self.server.start()
        for plane in self.planes:
            if plane in victims:
                plane.start_only()
        for plane in self.planes:
            until(plane.is_ready, PATIENCE, what="a control plane")
        self.wait_for_acknowledgements()

    def wait_for_acknowledgements(self) -> None:
        """Wait until there are as many more as there are services."""
        before = self.acknowledged()
        enough = CLIENTS * SERVICES
        until(lambda: self.acknowledged() >= before + enough, PATIENCE, what="acknowledgements")

    def wait_for_every_kind(self) -> None:
        """Wait until whatever is rare was acknowledged too: a leave, an edit and a deletion.

        Which of them comes when is a matter of chance, so an amount of acknowledgements may hold
        none of a kind.
        """
        until(self._has_every_kind, PATIENCE, what="a leave, an edit and a deletion")

    def _has_every_kind(self) -> bool:
        accounts = self.accounts()
        kinds = (
            any(account.leaves for account in accounts),
            any(account.edits for account in accounts),
            any(account.deleted for account in accounts),
        )
        return all(kinds)


@pytest.mark.timeout(120 + 90 * ROUNDS)
@pytest.mark.parametrize("database", ["own_postgresql", "own_mariadb"])
def test_what_was_acknowledged_is_kept(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    print(f"ACKNOWLEDGED_SEED={SEED}")
    fleet = Fleet(request.getfixturevalue(database)(), tmp_path)
    chance = random.Random(SEED)
    with fleet.running():
        fleet.wait_for_acknowledgements()
        for _ in range(ROUNDS):
            fleet.kill(chance)
    register = Register(fleet.engine)
    fleet.engine.dispose()
    assert [lie for client in fleet.clients for lie in client.lies] == []
    assert list(broken(register, fleet.accounts(), fleet.followed)) == []
    print(fleet.acknowledged(), "acknowledgements,", register.last, "events")
