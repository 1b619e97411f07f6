"""Neutron's API, the process that takes its agents' reports, and two of these agents, on loopback.

They live in an environment of their own, `.venv-neutron`. There is no Keystone in front and no
network behind: these agents need no privileges and change nothing on the host. Run as a script,
this file makes the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec

from servers.environments import Environment
from servers.openstack import OpenStack, Settings, WebAPI, ini, merged

NEUTRON = "29.0.0"

HOST = "network"

ENVIRONMENT = Environment(
    f"Neutron {NEUTRON}",
    ".venv-neutron",
    (f"neutron=={NEUTRON}", "SQLAlchemy<2.1", "PyMySQL", "pyuwsgi"),
)


class NeutronAPI(WebAPI):
    """The networking API on an empty database, and what its other processes share.

    It has to be MariaDB: Neutron's migrations run on no SQLite and no PostgreSQL. The first start
    makes the schema. Every process of this Neutron reads ``settings`` when it starts. Whoever asks
    is an administrator; with ``auth_strategy = keystone`` it is who ``identity`` names.
    """

    name = "neutron"
    package = "neutron"
    application = "neutron.wsgi.api:application"
    configured_by = "OS_NEUTRON_CONFIG_DIR"
    # Otherwise it wants a second file, with the settings of ml2.
    before = ("env", "OS_NEUTRON_CONFIG_FILES=neutron.conf")
    identity: Sequence[str] = ()
    lives_in = ENVIRONMENT

    def __init__(self, database: str, transport_url: str) -> None:
        super().__init__()
        self.database = database
        self.transport_url = transport_url
        self.settings: Settings = {}

    @property
    def url(self) -> str:
        """Where the networking API is."""
        return f"http://{self.address}/v2.0"

    @property
    def configuration(self) -> Path:
        """The file that all of them read."""
        return self.directory / "neutron.conf"

    def configure(self) -> None:
        """Write that file."""
        base: Settings = {
            "DEFAULT": {
                "host": HOST,
                "state_path": self.directory,
                "auth_strategy": "noauth",
                "api_paste_config": self.directory / "api-paste.ini",
                "core_plugin": "ml2",
                "transport_url": self.transport_url,
                "rpc_workers": 1,
                "agent_down_time": 6,
            },
            "agent": {"report_interval": 1},
            "database": {"connection": self.database},
            "ml2": {"mechanism_drivers": ""},
            "oslo_concurrency": {"lock_path": self.directory},
        }
        self.configuration.write_text(ini(merged(base, self.settings)))

    def prepare(self) -> None:
        # The filter that asks Keystone is taken out: with the settings of one there is none either.
        shipped = (self.environment / "etc/neutron/api-paste.ini").read_text()
        (self.directory / "api-paste.ini").write_text(shipped.replace(" authtoken ", " "))
        self.configure()
        manage = self.program("neutron-db-manage")
        self.run(manage, "--config-file", self.configuration, "upgrade", "heads")

    def launch(self) -> None:
        self.configure()
        super().launch()

    def agents(self) -> dict[str, dict[str, Any]]:
        """Return the agents that it lists, by binary: they all have one host."""
        return {agent["binary"]: agent for agent in self._request("GET", "")["agents"]}

    def change(self, binary: str, **fields: object) -> None:
        """Change an agent."""
        self._request("PUT", f"/{self.agents()[binary]['id']}", {"agent": fields})

    def delete(self, binary: str) -> None:
        """Delete an agent."""
        self._request("DELETE", f"/{self.agents()[binary]['id']}")

    def _request(self, method: str, path: str, body: object = None) -> Any:
        request = Request(
            f"{self.url}/agents{path}",
            msgspec.json.encode(body) if body else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        with urlopen(request, timeout=60) as answer:
            content = answer.read()
        return msgspec.json.decode(content) if content else None


class RPCServer(OpenStack):
    """The process that takes the agents' reports."""

    name = "neutron-rpc-server"
    package = "neutron"
    lives_in = ENVIRONMENT

    def __init__(self, api: NeutronAPI) -> None:
        super().__init__()
        self.api = api

    def command(self) -> Sequence[str | Path]:
        return [self.program(self.name), "--config-file", self.api.configuration]

    def answers(self) -> bool:
        """Look into its log: it listens on no port."""
        return "AMQP RPC server starting" in self.log.read_text(errors="replace")


class Agent(OpenStack):
    """A process that reports to the RPC server of a running API; started, it has done so."""

    package = "neutron"
    lives_in = ENVIRONMENT

    def __init__(self, api: NeutronAPI) -> None:
        super().__init__()
        self.api = api
        self._former: object = None

    def launch(self) -> None:
        self._former = self._reported()
        super().launch()

    def command(self) -> Sequence[str | Path]:
        return [self.program(self.name), "--config-file", self.api.configuration]

    def answers(self) -> bool:
        """Ask the API for a report since it was launched: it listens on no port."""
        return self._reported() not in (None, self._former)

    def _reported(self) -> object:
        return self.api.agents().get(self.name, {}).get("heartbeat_timestamp")


class MetadataAgent(Agent):
    """The agent that brings instances their metadata."""

    name = "neutron-metadata-agent"


class MeteringAgent(Agent):
    """The agent that counts traffic; by default it has a driver that counts none."""

    name = "neutron-metering-agent"


if __name__ == "__main__":
    ENVIRONMENT.made()
