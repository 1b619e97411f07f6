"""The configuration: what is read from where, and what is refused with which sentence."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from servicegroup import config, options
from servicegroup.agent.client import DriverSettings
from servicegroup.agent.heartbeats import own_options as agents_options
from servicegroup.errors import ConfigError
from servicegroup.model import OnUnknown
from servicegroup.protection import Threshold, Thresholds

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SERVICEGROUP_CONFIG", raising=False)
    monkeypatch.setattr(config, "FILES", (Path("servicegroup.conf"),))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))


def write(text: str) -> str:
    """Write the file in the working directory that is found by itself."""
    Path("servicegroup.conf").write_text(text)
    return "servicegroup.conf"


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    settings = config.load()
    limits = settings.limits
    assert (limits.report_interval, limits.service_down_time) == (10, 60)
    assert (limits.driver, limits.on_unknown) == ("session", OnUnknown.RECORD)
    assert (settings.host, settings.port) == ("127.0.0.1", 8774)
    assert settings.connection == f"sqlite:///{tmp_path}/servicegroup.sqlite"
    assert settings.uses_default_database
    assert settings.shadow_driver is None


def test_the_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[DEFAULT]\nreport_interval = 5\nbind = [::1]:99\n[database]\nconnection = sqlite://\n")
    monkeypatch.setenv("OS_DEFAULT__REPORT_INTERVAL", "7")
    settings = config.load()
    assert settings.limits.report_interval == 7
    assert (settings.host, settings.port) == ("::1", 99)
    assert settings.connection == "sqlite://"
    assert settings.source == "servicegroup.conf"


def test_a_named_file_comes_first_and_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("[DEFAULT]\nreport_interval = 5\n")
    other = tmp_path / "other.conf"
    other.write_text("[DEFAULT]\nreport_interval = 6\n")
    monkeypatch.setenv("SERVICEGROUP_CONFIG", str(other))
    assert config.load().limits.report_interval == 6
    assert config.load("servicegroup.conf").limits.report_interval == 5
    with pytest.raises(ConfigError, match=r"nowhere\.conf cannot be read"):
        config.load("nowhere.conf")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("service_down_time = 10", "service_down_time = 10 must be longer than report_interval"),
        ("membership_ttl = 3", "membership_ttl = 3 must be longer than heartbeat_interval = 3"),
        ("servicegroup_driver = consul", "no driver named 'consul'; choose one of: db"),
        (
            "servicegroup_shadow_driver = session",
            "servicegroup_shadow_driver = session is the driver itself",
        ),
        ("report_interval = soon", "report_interval"),
        ("report_interval = -1", "report_interval"),
        ("on_unknown = maybe", "on_unknown"),
        ("bind = 8774", "bind = 8774 is not host:port"),
        ("bind = 127.0.0.1:99999", "is not host:port"),
        ("bind = 0.0.0.0:8774", "lets other hosts in"),
        (f"[api]\ntoken = root:{DIGEST}", "does not begin with admin:"),
        ("[api]\ntoken = admin:secret", "64 hex digits"),
        ("[protection]\nminimum = 1", "minimum"),
        ("[protection]\nshare = 1.5", "share"),
        ("[protection]\ngroup = compute", "group = compute is not name:minimum:share"),
        ("[protection]\ngroup = compute:1:0.1", "with a minimum of 2"),
        ("[protection]\ngroup = compute:3:2", "a share from 0 to 1"),
        ("[protection]\ngroup = compute:few:0.1", "group = compute:few:0.1 is not"),
        ("[protection]\ngroup = compute:3:nan", "group = compute:3:nan is not"),
        ("[protection]\ngroup = :3:0.1", "group = :3:0.1 is not"),
        ("[events]\nkeep_days = 0", "keep_days"),
        ("garbage", "servicegroup.conf"),
    ],
)
def test_what_cannot_be_stops_the_start_with_one_sentence(text: str, sentence: str) -> None:
    write(f"[DEFAULT]\n{text}\n")
    with pytest.raises(ConfigError) as raised:
        config.load()
    message = str(raised.value)
    assert sentence in message
    assert "\n" not in message
    assert message.endswith(".")


def test_other_hosts_are_let_in_with_tokens_or_by_force() -> None:
    write(
        "[DEFAULT]\nbind = 0.0.0.0:8774\n"
        f"[api]\nauth_strategy = token\ntoken = admin:{DIGEST}\ntoken = reporter:{DIGEST}\n"
    )
    assert [token.role for token in config.load().tokens] == ["admin", "reporter"]
    write("[DEFAULT]\nbind = 0.0.0.0:8774\n[api]\ninsecure = true\n")
    assert config.load().host == "0.0.0.0"


def test_groups_may_have_thresholds_of_their_own() -> None:
    assert config.load().thresholds == Thresholds(Threshold(3, 0.2))
    write(
        "[protection]\nminimum = 5\nshare = 0\n"
        "group = compute:10:0.1\ngroup = with:colon:2:1\n[events]\nkeep_days = 7\n"
        "keep_operators_days = 90\n"
    )
    settings = config.load()
    own = {"compute": Threshold(10, 0.1), "with:colon": Threshold(2, 1)}
    assert settings.thresholds == Thresholds(Threshold(5, 0), own)
    assert settings.keep_events == timedelta(days=7)
    assert settings.keep_of_operators == timedelta(days=90)


ODD = ["a$b", "a$$b", r"a\$b", r"a\\$", "$", "$bind", "${bind}", "%(a)s", "'q'", " s p ", "#;,="]
"""Passwords that a language of values could take for something else."""


@pytest.mark.parametrize("password", ODD)
def test_a_variable_means_the_same_to_control_plane_and_agent(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in it, to the letter (F-9)."""
    monkeypatch.setenv("OS_REDIS__URL", f"redis://:{password}@redis/0")
    monkeypatch.setenv("OS_DATABASE__CONNECTION", password)
    write("[DEFAULT]\nservicegroup_driver = redis\n")
    settings = config.load()
    named = DriverSettings("redis", options={})
    assert settings.driver.options == agents_options(named, os.environ)
    assert settings.driver.options["url"] == f"redis://:{password}@redis/0"
    assert settings.connection == password


def test_in_the_file_a_dollar_sign_is_written_twice() -> None:
    write("[database]\nconnection = postgresql://u:a$$b@h/$report_interval\n")
    assert config.load().connection == "postgresql://u:a$b@h/10.0"


@pytest.mark.parametrize("value", ["a$bcd", "${bcd}", "$bcd.efg", "$connection"])
def test_a_lone_dollar_sign_is_refused_without_a_word_of_the_value(value: str) -> None:
    write(f"[database]\nconnection = {value}\n")
    with pytest.raises(ConfigError) as raised:
        config.load()
    assert str(raised.value) == (
        "[database] connection holds a $ that no option's name follows; write $$ for a dollar sign."
    )


def test_a_repeatable_option_has_several_values_in_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A comma or a new line parts them; they replace those of the file."""
    write(f"[api]\ntoken = reader:{DIGEST}:old\n[protection]\ngroup = old:3:0.5\n")
    for apart in (",", "\n", " ,\n ", ",,"):
        tokens = [f"admin:{DIGEST}", f"reporter:{DIGEST}:a$b", ""]
        monkeypatch.setenv("OS_API__TOKEN", apart.join(tokens))
        monkeypatch.setenv("OS_PROTECTION__GROUP", apart.join(["compute:10:0.1", "a:2:1"]))
        settings = config.load()
        assert [(token.role, token.name) for token in settings.tokens] == [
            ("admin", "admin"),
            ("reporter", "a$b"),
        ]
        assert set(settings.thresholds.own) == {"compute", "a"}
    monkeypatch.setenv("OS_API__TOKEN", "")
    assert config.load().tokens == ()


def test_a_variable_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_DEFAULT__REPORT_INTERVAL", "soon")
    with pytest.raises(ConfigError, match=r"^OS_DEFAULT__REPORT_INTERVAL cannot be used: .*soon"):
        config.load()
    monkeypatch.delenv("OS_DEFAULT__REPORT_INTERVAL")
    monkeypatch.setenv("OS_API__TOKEN", "s3cret")
    with pytest.raises(ConfigError) as raised:
        config.load()
    assert "s3cret" not in str(raised.value)


def test_every_option_explains_itself() -> None:
    for _, declared in options.list_opts():
        for option in declared:
            assert option.help, option.name
            assert len(option.help) > 20, option.name
