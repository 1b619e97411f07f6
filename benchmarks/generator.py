"""The load generator, in a process of its own beside a control plane."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import ROOT
from servers.process import reaper


@contextmanager
def generator(
    directory: Path,
    port: int,
    uuids: Sequence[str],
    *,
    batch: int,
    connections: int,
    seconds: float,
    way: str = "post",
) -> Iterator[subprocess.Popen[str]]:
    """Give one for these services, which reports for so many ``seconds`` each time it is told to.

    It has so many reports in a request, and so many connections, which are sessions if that is the
    ``way``.
    """
    file = directory / f"uuids-{port}"
    file.write_text("\n".join(uuids))
    command = [sys.executable, "-m", "benchmarks.load", way, str(port), str(file)]
    command += map(str, (batch, connections, seconds))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        reaper().remember(process.pid)
        try:
            yield process
        finally:
            process.kill()


def go(process: subprocess.Popen[str]) -> dict[str, float]:
    """Have it report for a while; return what it says: see ``load``."""
    assert process.stdin is not None
    assert process.stdout is not None
    print("go", file=process.stdin, flush=True)
    line = process.stdout.readline()
    if not line:
        raise AssertionError("the load generator ended early; its error is above")
    answer: dict[str, float] = json.loads(line)
    return answer
