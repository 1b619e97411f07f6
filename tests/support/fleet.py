"""Agents as operators run them: the real command, each in a process tree of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from support.waiting import until


class Agent:
    """``servicegroup agent`` for one service, optionally with a command below it."""

    def __init__(
        self, url: str, host: str, directory: Path, *command: str, binary: str, group: str = ""
    ) -> None:
        self.host = host
        self.binary = binary
        self.key = (host, binary)
        self._log = directory / f"agent-{host}-{binary}.log"
        arguments = ["--url", url, "--host", host, "--binary", binary]
        if group:
            arguments += ["--group", group]
        if command:
            arguments += ["--", *command]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "servicegroup", "agent", *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        """Return what it wrote."""
        return self._log.read_text()

    def child(self) -> int:
        """Return the process id of its command."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(until(lambda: children.read_text().split(), what="the agent's child")[0])

    def kill(self) -> None:
        """Crash the agent alone; its command lives on."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """Stop it in order and return its exit code."""
        self.process.terminate()
        return self.process.wait(20)

    def end(self) -> None:
        """End the whole tree, whatever state it is in."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self.process.wait(10)


@contextmanager
def fleet(
    url: str,
    hosts: list[str],
    directory: Path,
    *command: str,
    binary: str = "nova-compute",
    apart: bool = False,
) -> Iterator[list[Agent]]:
    """Give one agent a host, started at once and ended in any case.

    Those that are ``apart`` have a group each, so that several deaths do not make a crowd (AND-2).
    """
    agents = [
        Agent(url, host, directory, *command, binary=binary, group=host if apart else "")
        for host in hosts
    ]
    try:
        yield agents
    finally:
        for agent in agents:
            agent.end()


def openstack(url: str) -> dict[str, dict[str, Any]]:
    """Return what ``openstack compute service list`` shows, by host."""
    program = Path(sys.executable).with_name("openstack")
    endpoint = ["--os-auth-type", "none", "--os-endpoint", f"{url}/v2.1"]
    listed = subprocess.run(
        [program, *endpoint, "compute", "service", "list", "-f", "json"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return {row["Host"]: row for row in msgspec.json.decode(listed.stdout)}
