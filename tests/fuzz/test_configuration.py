"""Whatever a configuration holds, it is read or refused in one sentence that quotes no password."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servicegroup import config
from servicegroup.agent.connection import Connection
from servicegroup.drivers.etcd.driver import EtcdDriver
from servicegroup.drivers.redis import RedisDriver
from servicegroup.errors import ConfigError, InvalidInput
from servicegroup.store.addresses import redacted
from servicegroup.store.database import connect

from .conftest import fuzzed, thoroughly
from .known_secrets import SECRETS, leaks
from .shapes import texts

SECRET = SECRETS["database"].partition("/")[0]
CLIENTS: dict[str, Callable[[str], str]] = {
    "postgresql+psycopg": lambda url: redacted(connect(url).url),
    "mysql+pymysql": lambda url: redacted(connect(url).url),
    **dict.fromkeys(
        ("redis", "redis+sentinel", "valkeys+sentinel", "redis+cluster"),
        lambda url: str(RedisDriver.from_options({"url": url}).shared_options()["url"]),
    ),
    "http": lambda url: str(
        EtcdDriver.from_options({"endpoints": url}).shared_options()["endpoints"]
    ),
    "https": lambda url: Connection(url).url,
    "sqlite": lambda url: redacted(connect(url).url),
    "none": lambda url: redacted(connect(url).url),
}


marks = st.text("@:/?#[]%&= é0a,'", max_size=4)
urls = st.builds(
    "{}u{}:{}{}{}@127.0.0.1{}".format,
    st.sampled_from(["://", ":/", "://", ":", "", "://[", "://"]),
    *(marks, marks, st.just(SECRET), marks),
    st.sampled_from(
        [
            "",
            ":1",
            ":x",
            ":1/db",
            f":1/db?password={SECRET}",
            "/?a=b#x",
            f"?sentinel=name&sentinel_fallback=b:1&sentinel_password={SECRET}",
        ]
    ),
)


@pytest.mark.filterwarnings("ignore:Query string argument")
@pytest.mark.parametrize("scheme", CLIENTS)
def test_no_url_with_a_password_is_quoted(scheme: str) -> None:
    @thoroughly
    @given(urls)
    @example(f"://u:pa@{SECRET}@127.0.0.1:1/db")
    def check(rest: str) -> None:
        assert SECRET not in said_of(scheme, scheme + rest)

    check()


@pytest.mark.filterwarnings("ignore:Query string argument")
@pytest.mark.parametrize("scheme", [scheme for scheme in CLIENTS if "http" not in scheme])
@pytest.mark.parametrize("rest", [f"://u:{SECRET}", f"://u@127.0.0.1/db?password={SECRET}"])
def test_nor_is_one_in_an_odd_place(scheme: str, rest: str) -> None:
    assert SECRET not in said_of(scheme, scheme + rest)


def said_of(scheme: str, url: str) -> str:
    """Return what is shown of a URL, or why it is refused: in one line."""
    try:
        said = CLIENTS[scheme](url)
    except InvalidInput as refusal:
        said = str(refusal)
    assert "\n" not in said
    return said


lines = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", " ", "[", "# ", "\t"]),
    st.sampled_from(
        ["connection", "token", "bind", "report_interval", "servicegroup_driver", "group"]
    ),
    st.sampled_from([" = ", "=", " ", "]", ": ", " = ${", " = $"]),
    texts | st.just(SECRET) | st.sampled_from(["1", "-1", "nan", "1e400", "redis", "a:1:0.5"]),
)
sections = st.sampled_from(["DEFAULT", "database", "api", "protection", "redis", "", "a]"])


@fuzzed
@given(st.lists(st.tuples(sections, st.lists(lines, max_size=3)), max_size=3))
@example([("database", [f"  connection u:{SECRET}"])])
@example([("api", [f"token = {SECRET}"])])
def test_a_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, list[str]]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.conf"
    text = "".join(f"[{name}]\n" + "".join(f"{line}\n" for line in held) for name, held in parts)
    file.write_text(text)
    try:
        config.load(str(file))
    except ConfigError as error:
        refusal = str(error)
    else:
        return
    assert "\n" not in refusal
    public = ("bind", "report_interval", "servicegroup_driver", "group")  # no place for a password
    if not any(name in text for name in public):
        assert leaks({"what is said": refusal.encode()}) == []


@fuzzed
@given(texts | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_bytes_are_a_file_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file: Path = tmp_path_factory.getbasetemp() / "raw.conf"
    file.write_bytes(text.encode("latin-1", "replace"))
    with suppress(ConfigError):
        config.load(str(file))
