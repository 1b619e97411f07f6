"""The configuration source: Nova opens it before it may import anything, and once for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from oslo_config import cfg

OPENED_EARLY = """
import sys
from oslo_config import cfg
before = set(sys.modules)
from servicegroup.nova.source import ServiceGroupSource
conf = cfg.ConfigOpts()
conf([], default_config_files=[sys.argv[1]])
ServiceGroupSource().open_source_from_opt_group(conf, "servicegroup")
print(*sorted(set(sys.modules) - before))
"""

NOVA_CONF = """
[DEFAULT]
config_source = servicegroup
report_interval = 7
[servicegroup]
driver = servicegroup
"""


def test_an_early_look_imports_nothing_and_knows_of_no_nova(tmp_path: Path) -> None:
    path = tmp_path / "nova.conf"
    path.write_text("[DEFAULT]\n")
    command = [sys.executable, "-c", OPENED_EARLY, str(path)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert found == ["servicegroup", "servicegroup.nova", "servicegroup.nova.source"]


def test_it_is_found_by_its_name_and_changes_no_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "nova.conf"
    path.write_text(NOVA_CONF)
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.IntOpt("report_interval"), cfg.IntOpt("service_down_time", default=60)])
    conf([], default_config_files=[str(path)])
    assert (conf.report_interval, conf.service_down_time) == (7, 60)
    assert "could not load" not in caplog.text


OPENED_BY = """
import sys
from oslo_config import cfg
cfg.CONF([], project=sys.argv[2], default_config_files=[sys.argv[1]])
print("servicegroup.nova.registration" in sys.modules)
"""


@pytest.mark.parametrize(("program", "acts"), [("privsep", False), ("nova", True)])
def test_it_acts_in_programs_of_nova_only(tmp_path: Path, program: str, acts: bool) -> None:
    """F-46: a helper of privsep reads nova.conf, and must not end by what is wrong in it."""
    path = tmp_path / "nova.conf"
    path.write_text(NOVA_CONF.replace("[servicegroup]", "[servicegroup]\nshadow_driver = nothing"))
    command = [sys.executable, "-c", OPENED_BY, str(path), program]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    # There is no Nova here, so that registering fails, and oslo.config goes on without.
    assert ("could not load" in found.stderr or "True" in found.stdout) is acts, found
