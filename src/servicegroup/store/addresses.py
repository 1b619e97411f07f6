"""The URL of a database, as it is written and as it is shown.

What other programs take for PostgreSQL is understood too: ``postgresql://``, ``postgres://``, and
several hosts with commas, each with its port.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy.engine import URL, make_url

from servicegroup.errors import ConfigError

_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}

# An @ after the hosts would be one of a password: then these are no hosts.
_SEVERAL = re.compile(r"([\w+]+://(?:[^/?#@]*@)?)([^/?#@]*,[^/?#@]*)((?:[/?#][^@]*)?)")
_HOST = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:]*))(?::(?P<port>\d*))?")


class Address(NamedTuple):
    """A server: the host as it was named, its port, and one of its addresses, once resolved."""

    host: str
    port: str
    address: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """What libpq is told."""
        named = {"host": self.host, "port": self.port, "hostaddr": self.address}
        return {name: value for name, value in named.items() if value}

    def __str__(self) -> str:
        """Return how it is written."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


def parse(text: str) -> URL:
    """Return the URL; of several hosts in the one form that SQLAlchemy takes for any of them.

    Raises ConfigError for several hosts of what is no PostgreSQL, and what ``make_url`` raises.
    """
    hosts = ""
    if several := _SEVERAL.fullmatch(text):
        scheme, hosts, rest = several.groups()
        text = scheme + rest
    url = make_url(text)
    # SQLAlchemy has two names for MariaDB, and a dialect for each; here it has one.
    name = url.drivername.replace("mariadb", "mysql", 1)
    url = url.set(drivername=_DRIVERS.get(name, name))
    if url.get_backend_name() != "postgresql":
        if hosts:
            raise ConfigError(
                "[database] connection names several hosts, which only PostgreSQL's URLs may;"
                " name one address, of a proxy that leads to them."
            )
        return url
    ports = ",".join(_all(url.query.get("port", ()))).split(",")
    named = [*_all(url.query.get("host", ())), *filter(None, [hosts])]
    found = [_host(one) for one in ",".join(named).split(",") if one]
    if "hostaddr" in url.query or not found:
        return url
    if ports != [""]:
        each = ports * len(found) if len(ports) == 1 else ports
        if len(each) != len(found):
            raise ConfigError(
                f"[database] connection names {len(found)} hosts and {len(ports)} ports; write each"
                " port with its host, as in postgresql+psycopg://user:password@A:5432,B:5432/db."
            )
        found = [Address(one.host, port) for one, port in zip(found, each, strict=True)]
    query = {
        **url.query,
        "host": ",".join(one.host for one in found),
        "port": ",".join(one.port for one in found),
    }
    return url.set(query=query)


def hosts_of(url: URL) -> list[Address]:
    """Return the hosts that a PostgreSQL URL names; none where libpq finds them by itself."""
    if "hostaddr" in url.query:
        return []
    if "host" in url.query:
        hosts, ports = str(url.query["host"]).split(","), str(url.query["port"]).split(",")
        return [Address(host, port) for host, port in zip(hosts, ports, strict=True)]
    port = url.port or url.query.get("port") or ""
    return [Address(url.host, str(port))] if url.host else []


def redacted(url: URL) -> str:
    """Return a database's URL without its secrets, of which the query may have some too."""
    bare = url.set(query={}).render_as_string(hide_password=True)
    if url.get_backend_name() != "postgresql" or "host" not in url.query:
        return bare
    path = f"/{url.database}" if url.database is not None else ""
    return f"{bare.removesuffix(path)}{','.join(map(str, hosts_of(url)))}{path}"


def _all(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _host(written: str) -> Address:
    found = _HOST.fullmatch(written)
    if found is None:
        raise ValueError(written)
    return Address(found["v6"] or found["host"] or "", found["port"] or "")
