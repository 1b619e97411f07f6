"""An etcd server of the tests' own, and three of them that elect a leader."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from servers.process import LOOPBACK, PATIENCE, Ensemble, Server, free_port
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Etcd(Server):
    """A server, alone unless it is told its peers; further `arguments` are etcd's own."""

    name = "etcd"
    package = "etcd-server"

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        super().__init__()
        self.arguments = tuple(arguments)
        self.peer_url = f"http://{LOOPBACK}:{free_port()}"
        self.peers: Mapping[str, str] = {self.member: self.peer_url}

    @classmethod
    def installed(cls) -> bool:
        return shutil.which("etcd") is not None

    @property
    def url(self) -> str:
        """Where the server's clients, and its JSON gateway's, connect."""
        return f"http://{self.address}"

    @property
    def member(self) -> str:
        """The server's name among its peers."""
        return f"member{self.port}"

    @property
    def id(self) -> str:
        """What its peers know it by. Raises OSError when it cannot say."""
        return str(self._status()["header"]["member_id"])

    def version(self) -> str:
        """Return the release that it says it is. Raises OSError when it cannot say."""
        return str(self._status()["version"])

    def leads(self) -> bool:
        """Say whether this server is the leader. Raises OSError when it cannot say."""
        status = self._status()
        return bool(status["header"]["member_id"] == status.get("leader"))

    def _status(self) -> dict[str, Any]:
        status = self.post("/v3/maintenance/status")
        if not status:
            raise OSError(f"{self.url} tells no status")
        return status

    def command(self) -> Sequence[str | Path]:
        peers = ",".join(f"{name}={url}" for name, url in self.peers.items())
        return [
            *("etcd", "--name", self.member, "--data-dir", self.directory / "data"),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url),
            *("--initial-cluster", peers, "--initial-cluster-state", "new"),
            *("--initial-cluster-token", "".join(self.peers)),
            *self.arguments,
        ]

    def answers(self) -> bool:
        # A linearizable read: the server has a leader and has caught up with it.
        return "header" in self.post("/v3/kv/range", key="AA==")

    def post(self, path: str, **question: Any) -> dict[str, Any]:
        """Ask the JSON gateway; the answer is empty unless it is 200. Raises OSError."""
        with PoolManager(retries=False, timeout=5) as http:
            try:
                response = http.request("POST", self.url + path, json=question)
            except HTTPError as error:
                raise OSError(str(error)) from error
            answer: dict[str, Any] = json.loads(response.data) if response.status == 200 else {}
        return answer


class EtcdCluster(Ensemble[Etcd]):
    """Three servers, which serve while two of them can talk to each other."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        super().__init__([Etcd(arguments) for _ in range(3)])
        peers = {server.member: server.peer_url for server in self.servers}
        for server in self.servers:
            server.peers = peers

    def leader(self, timeout: float = PATIENCE) -> Etcd:
        """Return the server that leads, waiting up to `timeout` seconds for an election."""
        return until(self._leader, timeout, what="the cluster has a leader")

    def _leader(self) -> Etcd | None:
        return next((server for server in self.servers if self._leads(server)), None)

    @staticmethod
    def _leads(server: Etcd) -> bool:
        try:
            return server.leads()
        except OSError:
            return False
