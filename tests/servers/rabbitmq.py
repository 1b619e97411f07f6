"""A RabbitMQ broker of the benchmark's own, as a child process beside the system's.

Its node name, ports, data and Erlang cookie are private, and so is its epmd, the name server
every Erlang node registers with: left alone, RabbitMQ would start a shared one that outlives it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from servers.process import LOOPBACK, PATIENCE, Server, ask, free_port, unprivileged

if TYPE_CHECKING:
    from collections.abc import Sequence

# Debian's own wrapper in /usr/sbin insists on the system's directories.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Epmd(Server):
    """The name server of one broker."""

    name = "epmd"
    package = "erlang-base"

    @classmethod
    def installed(cls) -> bool:
        """Look for it on the path."""
        return shutil.which("epmd") is not None

    def command(self) -> Sequence[str | Path]:
        """Stay in the foreground, on loopback."""
        return ["epmd", "-address", LOOPBACK, "-port", str(self.port)]

    def answers(self) -> bool:
        """Ask for the registered names; the answer begins with epmd's own port."""
        list_names = b"\x00\x01n"
        return ask(self.port, list_names).startswith(self.port.to_bytes(4, "big"))


class RabbitMQ(Server):
    """A broker that takes guest/guest on loopback."""

    name = "rabbit"
    package = "rabbitmq-server"

    def __init__(self) -> None:
        super().__init__()
        self.user = unprivileged("rabbitmq")
        self.epmd = Epmd()
        self.distribution_port = free_port()

    @classmethod
    def installed(cls) -> bool:
        """Look where Debian puts it."""
        return PROGRAM.exists() and Epmd.installed()

    @property
    def url(self) -> str:
        """What oslo.messaging calls the transport URL."""
        return f"rabbit://guest:guest@{self.address}/"

    def prepare(self) -> None:
        """Turn all plugins off."""
        (self.directory / "plugins").write_text("[].\n")

    def launch(self) -> None:
        """Start the name server first, or RabbitMQ would start one that stays."""
        if not self.epmd.running:
            self.epmd.start()
        super().launch()

    def command(self) -> Sequence[str | Path]:
        """Run the broker with everything of its own in the environment."""
        return ["env", *self._environment(), PROGRAM]

    def queues(self) -> dict[str, int]:
        """Return how many messages each queue has, those included that a consumer holds."""
        listed = subprocess.run(
            ["env", *self._environment(), PROGRAM.with_name("rabbitmqctl"), "--quiet",
             "list_queues", "name", "messages", "--formatter", "json"],
            check=True, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        return {row["name"]: row["messages"] for row in json.loads(listed.stdout)}

    def _environment(self) -> list[str]:
        """Return what the broker's programs are to know, as words for ``env``."""
        settings = {
            "HOME": self.directory,  # where the cookie is
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": self.epmd.port,
            "RABBITMQ_NODENAME": f"peer-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": self.distribution_port,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": self.directory / "no-environment",
            "RABBITMQ_CONFIG_FILE": self.directory / "no-configuration",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.directory / "plugins",
            "RABBITMQ_MNESIA_BASE": self.directory / "data",
            "RABBITMQ_LOG_BASE": self.directory / "logs",
            "RABBITMQ_LOGS": "-",
        }
        return [f"{name}={value}" for name, value in settings.items()]

    def answers(self) -> bool:
        """Greet it as a client of AMQP 0-9-1; it answers with the ways to log in."""
        login = b"PLAIN"
        return login in ask(self.port, b"AMQP\x00\x00\x09\x01", answer=login)

    def close(self) -> None:
        """End the broker and its name server."""
        super().close()
        self.epmd.close()
