"""The layer's part of nova.conf, with Nova's own options as Nova has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from servicegroup.config import DriverChoice
from servicegroup.errors import ConfigError
from servicegroup.model import OnUnknown
from servicegroup.nova.rpc.options import RpcSettings
from servicegroup.nova.settings import Settings, load, register_options, require_tested

NOVAS_OWN = [
    cfg.StrOpt("servicegroup_driver", default="db"),
    cfg.IntOpt("report_interval", default=10),
    cfg.IntOpt("service_down_time", default=60),
    cfg.StrOpt("state_path", default="/var/lib/nova"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nova.conf"


def read(path: Path, text: str) -> Settings:
    path.write_text(text)
    conf = cfg.ConfigOpts()
    conf.register_opts(NOVAS_OWN)
    register_options(conf)
    conf([], default_config_files=[str(path)])
    return load(conf)


def test_intervals_are_novas_and_the_rest_is_the_sections(path: Path) -> None:
    found = read(
        path,
        "[DEFAULT]\nservicegroup_driver = zk\nreport_interval = 5\n"
        "[servicegroup]\non_unknown = down\nshadow_driver = memcached\nmembership_ttl = 20\n"
        "[zookeeper]\naddress = zk1:2181\n",
    )
    assert found.driver == DriverChoice("zookeeper", {"address": "zk1:2181"})
    assert found.shadow == DriverChoice("memcached", {})
    limits = found.limits
    assert (limits.report_interval, limits.service_down_time) == (5, 60)
    assert (limits.heartbeat_interval, limits.membership_ttl) == (3, 20)
    assert (limits.driver, limits.on_unknown) == ("zookeeper", OnUnknown.DOWN)


@pytest.mark.parametrize("driver", ["db", "mc"])
def test_novas_own_drivers_stay_its_own(path: Path, driver: str) -> None:
    text = f"[DEFAULT]\nservicegroup_driver = {driver}\n[servicegroup]\nshadow_driver = zookeeper\n"
    found = read(path, text)
    assert (found.driver, found.limits.driver) == (None, driver)
    assert found.shadow == DriverChoice("zookeeper", {})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("shadow_driver = zookeeper", "shadow_driver = zookeeper must be one of"),
        ("shadow_driver = db", "shadow_driver = db must be one of"),
        ("shadow_driver = consul", "shadow_driver = consul must be one of"),
        ("membership_ttl = 2", "membership_ttl = 2 must be longer"),
        ("on_unknown = up", "on_unknown"),
        ("heartbeat_interval = often", "heartbeat_interval"),
    ],
)
def test_a_contradiction_is_one_sentence(path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        read(path, f"[DEFAULT]\nservicegroup_driver = zk\n[servicegroup]\n{text}\n")
    assert "\n" not in str(refused.value)


def test_a_nova_that_was_not_tested_is_refused_unless_allowed() -> None:
    require_tested("34.0.1", allowed=False)
    require_tested("35.0.0", allowed=True)
    with pytest.raises(ConfigError, match=r"this is 35\.0\.0: set .* allow_untested_nova = true"):
        require_tested("35.0.0", allowed=False)


def test_the_probes_section_has_its_defaults(path: Path) -> None:
    found = read(path, "").rpc
    assert found == RpcSettings(False, 5, 150, 600, "/var/lib/nova/servicegroup-rpc.json")


@pytest.mark.parametrize(
    ("driver", "text", "sentence"),
    [
        ("db", "deaf = down", r"deaf = down needs a servicegroup_driver of servicegroup"),
        ("mc", "deaf = down", r"deaf = down needs a servicegroup_driver of servicegroup"),
        ("zk", "deaf = up", "deaf"),
        ("zk", "timeout = 30\nkeep = 100", r"keep = 100 is too short for timeout = 30"),
        ("zk", "rate = 0", "rate"),
    ],
)
def test_a_contradiction_of_the_probe_is_one_sentence(
    path: Path, driver: str, text: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        read(path, f"[DEFAULT]\nservicegroup_driver = {driver}\n[rpc]\n{text}\n")
    assert "\n" not in str(refused.value)


def test_deaf_may_be_down_where_the_layer_judges(path: Path) -> None:
    assert read(path, "[DEFAULT]\nservicegroup_driver = zk\n[rpc]\ndeaf = down\n").rpc.deaf_is_down
