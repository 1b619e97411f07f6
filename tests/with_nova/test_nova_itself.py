"""Nova's own tests of what the layer touches, with the layer in and driver `db`."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from servers.nova_environment import ENVIRONMENT

TESTS = (
    "servicegroup.test_api",
    "servicegroup.test_db_servicegroup",
    "servicegroup.test_mc_servicegroup",
    "objects.test_service",
    "notifications.objects.test_service",
    "api.openstack.compute.test_services",
    "api.openstack.compute.test_availability_zone",
    "scheduler.filters.test_compute_filters",
    "test_availability_zones",
    "test_service",
)

WITH_LAYER = {
    "OS_DEFAULT__CONFIG_SOURCE": "servicegroup",
    "OS_SERVICEGROUP__DRIVER": "servicegroup",
}
"""What nova.conf says of the layer; these tests read no file."""

CHOICES = """
from nova import config, servicegroup
config.parse_args([""], default_config_files=[], configure_db=False, init_rpc=False)
print(config.CONF.servicegroup_driver, *servicegroup.api._driver_name_class_mapping)
"""

RAN = re.compile(r"Ran (\d+) tests in .*\nOK", re.MULTILINE)

MINUTES = 8


def run(directory: Path, layer: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start Python in Nova's environment."""
    return subprocess.Popen(
        [ENVIRONMENT.made() / "bin" / "python", "-W", "ignore", *arguments],
        env=os.environ | layer,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    with process:
        output, _ = process.communicate(timeout=60 * MINUTES)
    assert process.returncode == 0, output[-5000:]
    return output


@pytest.mark.timeout(60 * MINUTES + 60)
def test_all_pass_with_the_layer_as_without(tmp_path: Path) -> None:
    names = said(run(tmp_path, WITH_LAYER, "-c", CHOICES)).splitlines()[-1].split()
    assert names[0] == "db"
    assert {"zookeeper", "memcached"} < set(names)

    modules = [f"nova.tests.unit.{test}" for test in TESTS]
    both = [run(tmp_path, layer, "-m", "testtools.run", *modules) for layer in ({}, WITH_LAYER)]
    without, with_layer = ([int(n) for n in RAN.findall(said(process))] for process in both)
    assert with_layer == without
    assert with_layer > [250]
