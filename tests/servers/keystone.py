"""Keystone, in a virtual environment of its own, `.venv-keystone` in the checkout, on SQLite.

Run as a script, this file makes the environment.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from servers.environments import Environment
from servers.openstack import Settings, WebAPI, ini, output

KEYSTONE = "30.0.0"

REGION = "RegionOne"
PASSWORD = "the-administrators-password"


class Keystone(WebAPI):
    """Keystone with one user, `admin`, who has the role admin in the project `admin`."""

    name = "keystone"
    package = "keystone"
    application = "keystone.wsgi.api:application"
    configured_by = "OS_KEYSTONE_CONFIG_DIR"
    identity = ()
    versions_at = "/v3"
    lives_in = Environment(
        f"Keystone {KEYSTONE}", ".venv-keystone", (f"keystone=={KEYSTONE}", "pyuwsgi")
    )

    @property
    def url(self) -> str:
        """Where its API is, as clients are told."""
        return f"http://{self.address}/v3"

    @property
    def configuration(self) -> Path:
        """Its configuration file."""
        return self.directory / "keystone.conf"

    def prepare(self) -> None:
        (self.directory / "keys").mkdir(mode=0o700)
        self.configure(expiration=3600)
        self.manage("db_sync")
        owner, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        self.manage("fernet_setup", "--keystone-user", owner, "--keystone-group", group)
        self.manage("bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION,
                    "--bootstrap-public-url", self.url)  # fmt: skip

    def configure(self, expiration: int) -> None:
        """Write the configuration; its tokens will last so many seconds."""
        settings: Settings = {
            "database": {"connection": f"sqlite:///{self.directory / 'keystone.sqlite'}"},
            "token": {"expiration": expiration},
            "fernet_tokens": {"key_repository": self.directory / "keys"},
        }
        self.configuration.write_text(ini(settings))

    def manage(self, *command: str) -> None:
        """Run a command of `keystone-manage`. Raises ServerError."""
        output(self.program("keystone-manage"), "--config-file", self.configuration, *command)


if __name__ == "__main__":
    Keystone.lives_in.made()
