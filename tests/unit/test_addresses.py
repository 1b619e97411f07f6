"""The URL of a database: what users write for several hosts, and how it is shown."""

from __future__ import annotations

import pytest

from servicegroup.errors import ConfigError
from servicegroup.store.addresses import Address, hosts_of, parse, redacted
from servicegroup.store.database import connect

A, B = Address("a", "5432"), Address("b", "5433")


@pytest.mark.parametrize(
    ("written", "hosts"),
    [
        ("postgresql+psycopg://u:p@a:5432/db", [A]),
        ("postgresql://u:p@a:5432/db", [A]),
        ("postgres://u:p@a:5432/db", [A]),
        ("postgresql://u:p@a:5432,b:5433/db", [A, B]),
        ("postgresql+psycopg://u:p@/db?host=a:5432&host=b:5433", [A, B]),
        ("postgresql+psycopg://u:p@/db?host=a:5432,b:5433", [A, B]),
        ("postgresql+psycopg://u:p@/db?host=a,b&port=5432,5433", [A, B]),
        ("postgresql+psycopg://u:p@/db?host=a&host=b&port=5432&port=5433", [A, B]),
        ("postgresql://u:p@a,b/db?port=5432", [A, Address("b", "5432")]),
        ("postgresql://u:p@a,b:5433/db?sslmode=require", [Address("a", ""), B]),
        ("postgresql://a,b/db", [Address("a", ""), Address("b", "")]),
        ("postgresql://u@[::1]:5432,b:5433/db", [Address("::1", "5432"), B]),
        ("postgresql:///db?host=/run/postgresql", [Address("/run/postgresql", "")]),
        ("postgresql:///db", []),
        ("postgresql://u:p,p@a:5432/db", [A]),
        ("postgresql://u:p@/db?hostaddr=127.0.0.1&host=a", []),
    ],
)
def test_what_is_understood(written: str, hosts: list[Address]) -> None:
    url = parse(written)
    assert url.drivername == "postgresql+psycopg"
    assert hosts_of(url) == hosts
    assert url.database == "db"
    connect(written).dispose()


def test_it_is_shown_as_it_may_be_written() -> None:
    shown = redacted(parse("postgresql://u:secret@/db?host=a:5432&host=b&sslpassword=secret"))
    assert shown == "postgresql+psycopg://u:***@a:5432,b/db"
    assert redacted(parse("postgresql://a,b")) == "postgresql+psycopg://a,b"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("mysql+pymysql://u:p@a,b/db", "several hosts"),
        ("postgresql://u:p@/db?host=a,b&port=1,2,3", "2 hosts and 3 ports"),
        ("postgresql://u:p@a:x,b/db", "it is no such URL"),
        ("postgresql://u:p@a:1:2,b/db", "it is no such URL"),
    ],
)
def test_what_is_refused_by_name(written: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        connect(written)


def test_mariadb_has_one_name() -> None:
    engine = connect("mariadb+pymysql://u:p@a:3306/db")
    assert (engine.dialect.name, redacted(engine.url)) == (
        "mysql",
        "mysql+pymysql://u:***@a:3306/db",
    )
    engine.dispose()
