"""promtool, which reads rules and metrics as Prometheus does; a program and no server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import ClassVar


class Promtool:
    """One run is one check."""

    name: ClassVar[str] = "promtool"
    package: ClassVar[str] = "prometheus"

    @classmethod
    def installed(cls) -> bool:
        """Say whether this machine has it."""
        return shutil.which("promtool") is not None

    def accepts(self, *arguments: str | Path, stdin: bytes = b"") -> None:
        """Run it; raises AssertionError with what it finds fault with."""
        done = subprocess.run(
            ["promtool", *arguments], input=stdin, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
