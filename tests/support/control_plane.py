"""A control plane as operators run it: the real command in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import urllib3

from servers.process import free_port, freeze
from servicegroup.model import Limits
from support.waiting import until


def intervals(limits: Limits) -> dict[str, float]:
    """Return the options that make a control plane and its members keep to these limits."""
    names = ("report_interval", "service_down_time", "heartbeat_interval", "membership_ttl")
    return {name: getattr(limits, name) for name in names}


class ControlPlane:
    """``servicegroup serve`` on a free loopback port; ``options`` go to [DEFAULT]."""

    def __init__(self, connection: str, directory: Path, api: str = "", **options: Any) -> None:
        self.directory = directory
        self.connection = connection
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = directory / f"serve-{self.port}.log"
        self.config = directory / f"servicegroup-{self.port}.conf"
        self.http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(10))
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(f"[api]\n{api}\n", **options)

    def configure(self, sections: str = "", **options: Any) -> None:
        """Write the configuration that the next start reads."""
        lines = [f"bind = 127.0.0.1:{self.port}"]
        lines += [f"{name} = {value}" for name, value in options.items()]
        default = "\n".join(lines)
        self.config.write_text(
            f"[DEFAULT]\n{default}\n[database]\nconnection = {self.connection}\n{sections}\n"
        )

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of the same installation and configuration."""
        return [sys.executable, "-m", "servicegroup", "--config-file", str(self.config), *arguments]

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it commits reports."""
        subprocess.run(self.command("db", "upgrade"), check=True, capture_output=True, timeout=180)
        self.start_only()
        if wait:
            until(self.is_ready, timeout=30, what=f"the control plane; its log: {self.log()}")

    def start_only(self) -> None:
        """Start the process without waiting for anything."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command("serve"), stdout=log, stderr=log, cwd=self.directory
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, "the control plane was not started"
        return self._process

    def is_ready(self) -> bool:
        """Tell whether it answers and commits."""
        assert self.process.poll() is None, f"the control plane ended: {self.log()}"
        try:
            return self.http.request("GET", self.url + "/readyz").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def log(self) -> str:
        """Return what it wrote to its log."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator does; nothing if it does not run."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(timeout=20)
        self._process = None

    def freeze(self) -> None:
        """Hang it; on return nothing of it runs any more."""
        freeze(self.process.pid)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, urllib3.HTTPHeaderDict, Any]:
        """Return status, headers and decoded body of one request."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if body is not None:
            names.setdefault("Content-Type", "application/json")
            data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        answer = self.http.request(method, self.url + path, body=data, headers=names)
        is_json = answer.data and "json" in answer.headers.get("Content-Type", "")
        content = msgspec.json.decode(answer.data) if is_json else answer.data
        return answer.status, answer.headers, content

    def services(self, query: str = "") -> dict[tuple[str, str], dict[str, Any]]:
        """Return the services of /v1 by host and binary."""
        status, _, body = self.request("GET", f"/v1/services{query}")
        assert status == 200, body
        return {(s["host"], s["binary"]): s for s in body["services"]}
