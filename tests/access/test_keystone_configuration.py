"""What stops the start with ``auth_strategy = keystone``, in one sentence; no Keystone runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from servicegroup import config
from servicegroup.api.access.keystone import Keystone
from servicegroup.api.access.strategies import authenticator
from servicegroup.errors import ConfigError
from servicegroup.store.database import connect

# keystonemiddleware's own libraries warn of one another.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NAMED = "[keystone_authtoken]\nauth_type = password\nauth_url = http://127.0.0.1:9/v3\n"


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
        ("[keystone_authtoken]\nauth_type = nosuch\n", "[keystone_authtoken] cannot be used"),
        (f"{NAMED}token_cache_time = soon\n", "[keystone_authtoken] cannot be used"),
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
