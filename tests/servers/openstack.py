"""What OpenStack's services have in common as servers: their configuration and how they are run."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from servers.nova_environment import ENVIRONMENT
from servers.process import LOOPBACK, PATIENCE, Server, ServerError

Settings = Mapping[str, Mapping[str, object]]
"""What a configuration file says: values by option, by section."""

THREADS = 4
"""Requests an API works on at once."""


def merged(*settings: Settings) -> Settings:
    """Return all settings in one; what comes later wins."""
    result: dict[str, dict[str, object]] = {}
    for each in settings:
        for section, options in each.items():
            result.setdefault(section, {}).update(options)
    return result


def ini(settings: Settings) -> str:
    """Return the text of a configuration file."""
    return "".join(_lines(settings))


def _lines(settings: Settings) -> Iterator[str]:
    for section, options in settings.items():
        yield f"[{section}]\n"
        yield from (f"{name} = {value}\n" for name, value in options.items())


def output(*command: str | Path) -> str:
    """Return what a command prints. Raises ServerError with what it says of an error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        raise ServerError(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


class OpenStack(Server):
    """A server from an environment, which is made if need be. Raises InstallError."""

    lives_in = ENVIRONMENT

    def __init__(self) -> None:
        super().__init__()
        self.environment = self.lives_in.made()

    @classmethod
    def installed(cls) -> bool:
        """Say yes: the constructor installs it."""
        return True

    def program(self, name: str) -> Path:
        """Return the path of a program in the environment."""
        return self.environment / "bin" / name


class WebAPI(OpenStack):
    """An API under uWSGI: one process of `THREADS` threads."""

    application: str
    """The WSGI application that the package ships, as module and name."""
    configured_by: str
    """The environment variable with the directory of the configuration."""
    identity: Sequence[str] = ("USER_ID=admin", "PROJECT_ID=admin", "ROLES=admin,member,reader")
    """Who asks, as the filter of Keystone would say; `openstack` sends no such headers."""

    versions_at: str = "/"
    """The path at which it tells the versions of its API."""

    def command(self) -> Sequence[str | Path]:
        return [
            *("env", f"{self.configured_by}={self.directory}", self.program("pyuwsgi")),
            *("--http-socket", self.address, "--module", self.application),
            *("--processes", "1", "--threads", str(THREADS), "--enable-threads"),
            *("--lazy-apps", "--need-app", "--die-on-term", "--disable-logging"),
            # OpenStack parses the arguments of whoever runs it; uWSGI would keep connections open.
            *("--pyargv", "", "--add-header", "Connection: close", "--buffer-size", "65535"),
            *(f"--route-run=addvar:HTTP_X_{each}" for each in self.identity),
        ]

    def answers(self) -> bool:
        """Ask which versions of the API there are."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            connection.request("GET", self.versions_at)
            return connection.getresponse().status == http.HTTPStatus.OK
        finally:
            connection.close()
