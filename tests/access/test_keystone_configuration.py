"""What stops the start with ``auth_strategy = keystone``, in one sentence; no Keystone runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from servicegroup import config, keystone_settings
from servicegroup.api.access.keystone import Keystone
from servicegroup.api.access.strategies import authenticator
from servicegroup.cli.doctor import examine
from servicegroup.errors import ConfigError
from servicegroup.store.database import connect

# keystonemiddleware's own libraries warn of one another.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NAMED = "[keystone_authtoken]\nauth_type = password\nauth_url = http://127.0.0.1:9/v3\n"


STRATEGY = "[keystone_authtoken] memcache_security_strategy"


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = connect("sqlite:///never-opened")
    yield engine
    engine.dispose()


def settings(directory: Path, sections: str) -> config.Settings:
    path = directory / "servicegroup.conf"
    path.write_text(f"[api]\nauth_strategy = keystone\n{sections}")
    return config.load(str(path))


def test_a_keystone_that_does_not_answer_is_no_reason_not_to_start(
    tmp_path: Path, engine: Engine
) -> None:
    assert isinstance(authenticator(settings(tmp_path, NAMED), engine), Keystone)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ("", "[keystone_authtoken] names no auth_type"),
        ("[keystone_authtoken]\nauth_type = nosuch\n", "[keystone_authtoken] auth_type cannot"),
        (f"{NAMED}token_cache_time = soon\n", "[keystone_authtoken] token_cache_time cannot"),
        (f"{NAMED}password = a$bcd\n", "[keystone_authtoken] password holds a $"),
        (f"{NAMED}memcache_security_strategy = MAC\n", f"{STRATEGY} = MAC needs memcache_secret"),
        (
            f"{NAMED}memcache_tls_enabled = true\nmemcache_tls_cafile = nowhere\n",
            "[keystone_authtoken] cannot be used",
        ),
        (f"{NAMED}auth_section = other\n", "[other] names no auth_type"),
        (f"{NAMED}[oslo_policy]\npolicy_file = bad.yaml\n", "[oslo_policy] policy_file cannot"),
    ],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, engine: Engine, sections: str, said: str
) -> None:
    (tmp_path / "bad.yaml").write_text('"servicegroup:read": [[unfinished\n')
    with pytest.raises(ConfigError) as raised:
        authenticator(settings(tmp_path, sections), engine)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)
    assert "bcd" not in str(raised.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("memcached_servers = a:11211", "memcached_servers needs python-memcached"),
        ("memcached_servers = a:11211\nmemcache_tls_enabled = true",
         "memcached_servers needs python-binary-memcached"),
        ("memcached_servers = a:11211\nmemcache_sasl_enabled = true",
         "memcached_servers needs python-binary-memcached"),
        ("memcache_security_strategy = ENCRYPT\nmemcache_secret_key = k",
         "memcache_security_strategy = ENCRYPT needs cryptography"),
    ],
)  # fmt: skip
def test_a_package_that_only_a_request_would_miss_stops_the_start_and_is_found(
    tmp_path: Path,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    lines: str,
    said: str,
) -> None:
    """F-41."""
    monkeypatch.setattr(keystone_settings, "find_spec", lambda name: None)
    given = settings(tmp_path, f"{NAMED}{lines}\n")
    package = said.rpartition(" ")[2]
    sentence = f"[keystone_authtoken] {said}; pip install {package}."
    with pytest.raises(ConfigError) as raised:
        authenticator(given, engine)
    assert str(raised.value) == sentence
    [found] = examine(given.config_file)
    assert (found.result, found.check, found.finding) == ("FAIL", "configuration", sentence)


def test_variables_are_taken_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the login's plugin, too, which its library registers later (F-9)."""
    monkeypatch.setenv("OS_KEYSTONE_AUTHTOKEN__PASSWORD", r"a$b$$c\$d")
    monkeypatch.setenv("OS_KEYSTONE_AUTHTOKEN__USERNAME", "servicegroup")
    monkeypatch.setenv("OS_KEYSTONE_AUTHTOKEN__HTTP_CONNECT_TIMEOUT", "7")
    conf = keystone_settings.for_libraries(settings(tmp_path, NAMED))
    assert conf.keystone_authtoken.password == r"a$b$$c\$d"
    assert conf.keystone_authtoken.username == "servicegroup"
    assert conf.keystone_authtoken.http_connect_timeout == 7
