"""Cinder's API and scheduler on loopback, in an environment of their own, `.venv-cinder`.

There is no Keystone in front: who asks shows a token that names its user and project. Run as a
script, this file makes the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from servers.environments import Environment
from servers.openstack import OpenStack, Settings, WebAPI, ini

CINDER = "29.0.0"

TOKEN = "admin:admin"
"""User and project of who asks, which is what a token is without Keystone."""

HOST = "storage"

ENVIRONMENT = Environment(
    f"Cinder {CINDER}", ".venv-cinder", (f"cinder=={CINDER}", "SQLAlchemy<2.1", "pyuwsgi")
)


class CinderAPI(WebAPI):
    """The block storage API on SQLite, and what its scheduler shares."""

    name = "cinder"
    package = "cinder"
    application = "cinder.wsgi.api:application"
    configured_by = "OS_CINDER_CONFIG_DIR"
    identity = ()
    versions_at = "/healthcheck"
    lives_in = ENVIRONMENT

    def __init__(self, transport_url: str) -> None:
        super().__init__()
        self.transport_url = transport_url

    @property
    def url(self) -> str:
        """Where the block storage API is."""
        return f"http://{self.address}/v3"

    @property
    def configuration(self) -> Path:
        """The file that both read."""
        return self.directory / "cinder.conf"

    def command(self) -> Sequence[str | Path]:
        words = list(super().command())
        words[words.index("--pyargv") + 1] = f"--config-file {self.configuration}"
        return words

    def prepare(self) -> None:
        settings: Settings = {
            "DEFAULT": {
                "host": HOST,
                "my_ip": "127.0.0.1",
                "state_path": self.directory,
                "auth_strategy": "noauth",
                "api_paste_config": self.environment / "etc/cinder/api-paste.ini",
                "transport_url": self.transport_url,
                "report_interval": 1,
                "service_down_time": 10,
            },
            "database": {"connection": f"sqlite:///{self.directory / 'cinder.sqlite'}"},
            "oslo_concurrency": {"lock_path": self.directory},
        }
        self.configuration.write_text(ini(settings))
        self.manage("db", "sync")

    def manage(self, *command: str) -> None:
        """Run a command of `cinder-manage`. Raises ServerError."""
        self.run(self.program("cinder-manage"), "--config-file", self.configuration, *command)


class CinderScheduler(OpenStack):
    """The process that finds backends for volumes."""

    name = "cinder-scheduler"
    package = "cinder"
    lives_in = ENVIRONMENT

    def __init__(self, api: CinderAPI) -> None:
        super().__init__()
        self.api = api

    def command(self) -> Sequence[str | Path]:
        return [self.program(self.name), "--config-file", self.api.configuration]

    def answers(self) -> bool:
        """Look into its log: it listens on no port."""
        return "Starting cinder-scheduler node" in self.log.read_text(errors="replace")


if __name__ == "__main__":
    ENVIRONMENT.made()
