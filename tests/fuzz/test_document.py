"""What the OpenAPI document says is what a running control plane does, whatever it is sent.

schemathesis sends what the document allows and what it does not: no answer is a 5xx, each has a
status, a content type and a body that are documented, what is invalid is refused, what is valid is
not, and what was deleted is gone. Its seed, and a curl command per failure, are in its output.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.control_plane import ControlPlane

from .conftest import EXAMPLES, TOKEN

pytestmark = pytest.mark.long

HERE = Path(__file__).parent


@pytest.mark.timeout(0 if EXAMPLES > 25 else 400)
def test_every_answer_is_as_documented(plane: ControlPlane) -> None:
    fuzzed = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--no-color"),
            *("--config-file", HERE / "schemathesis.toml"),
            *("run", f"{plane.url}/v1/openapi.json", "--header", f"X-Auth-Token: {TOKEN}"),
            *("--max-examples", str(EXAMPLES), "--request-timeout", "30"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=plane.directory,
        env={**os.environ, "PYTHONPATH": f"{HERE.parent}"},
    )
    assert fuzzed.returncode == 0, fuzzed.stdout
