"""nova.conf read again while a process runs: the layer stays as it was, and says so (F-47)."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from servicegroup.nova.reloads import tell_of_changes
from servicegroup.nova.settings import load, register_options

from .test_nova_settings import NOVAS_OWN

STARTED_WITH = "[DEFAULT]\nservicegroup_driver = zookeeper\n[zookeeper]\naddress = zk1:2181\n"

NEEDED = "has changed: restart needed."


def register(conf: cfg.ConfigOpts) -> None:
    conf.register_opts(NOVAS_OWN)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "nova.conf"
    path.write_text(STARTED_WITH)
    return path


@pytest.fixture
def conf(path: Path) -> cfg.ConfigOpts:
    """Give the configuration of a process that runs."""
    conf = cfg.ConfigOpts()
    register(conf)
    register_options(conf)
    conf([], default_config_files=[str(path)])
    tell_of_changes(conf, register, load(conf))
    return conf


@pytest.mark.parametrize(
    "change",
    [
        "[servicegroup]\nheartbeat_interval = 2\n",
        "[servicegroup]\nshadow_driver = memcached\n",
        "[zookeeper]\nsession_timeout = 5\n",
    ],
)
def test_a_change_needs_a_restart(
    conf: cfg.ConfigOpts, path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = load(conf)
    path.write_text(STARTED_WITH + change)
    conf.mutate_config_files()
    assert caplog.text.count(NEEDED) == 1
    assert load(conf) == before


def test_what_is_as_it_was_needs_none(
    conf: cfg.ConfigOpts, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(STARTED_WITH + "[database]\nconnection = sqlite://\n")
    conf.mutate_config_files()
    path.write_text(STARTED_WITH)
    conf.mutate_config_files()
    assert "restart" not in caplog.text


def test_a_mistake_is_told_before_the_restart_that_it_would_prevent(
    conf: cfg.ConfigOpts, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(STARTED_WITH + "[servicegroup]\nmembership_ttl = 1\n")
    conf.mutate_config_files()
    assert "this process would not start with it:" in caplog.text
    assert "membership_ttl" in caplog.text
