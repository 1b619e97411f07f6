"""The URL of ``[redis]``: one server, or those that know which one is the primary.

Understood are redis-py's own forms, ``redis+sentinel://`` and ``redis+cluster://`` as other clients
write them, and what OpenStack's tooz takes and Kolla writes: ``redis://…@host:26379?sentinel=MASTER
&sentinel_fallback=host:26379``. Valkey's schemes are the same protocol (F-16).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec
from redis.connection import parse_url

from servicegroup.errors import ConfigError

FORMS = (
    "[redis] url cannot be used; write redis://user:password@host:port/db, or with sentinels"
    " redis+sentinel://user:password@host:26379,host:26379/MASTER/db, or for a cluster"
    " redis+cluster://user:password@host:port,host:port, with special characters percent-encoded,"
    " and after ? only options redis-py knows."
)
_ONE_DATABASE = (
    "[redis] url names a database of a Redis Cluster, which has only one: leave out what follows"
    " the hosts, as in redis+cluster://host:port,host:port."
)
_SECRETS = frozenset({
    "username", "password", "ssl_password",
    "sentinel_username", "sentinel_password", "sentinel_ssl_password",
})  # fmt: skip
# Beside sentinels these are tooz's, whose time limits are not for one question; ours are options.
_NOT_OURS = frozenset({
    "socket_timeout", "socket_connect_timeout", "retry_on_timeout",
    "timeout", "membership_timeout", "lock_timeout",
})  # fmt: skip
_SCHEME = re.compile(r"(redis|valkey)(s?)(\+sentinel|\+cluster|)")
_HOST = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(?::(\d{1,5}))?", re.ASCII)
_YES = frozenset({"1", "t", "true", "on", "y", "yes"})


class Address(msgspec.Struct, frozen=True):
    """Where the server is: its connection's arguments for redis-py, and whom to ask for it.

    That is nobody, or sentinels, or servers of a ``cluster``. ``shown`` is the URL without anything
    secret, and ``place`` a few words for messages.
    """

    shown: str
    place: str
    server: dict[str, Any]
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""
    sentinel: dict[str, Any] = {}
    cluster: tuple[tuple[str, int], ...] = ()


def address_of(url: str) -> Address:
    """Read a URL. Raises ConfigError, which never quotes it: a part may be of a password."""
    try:
        parts = urlsplit(url)
        if "@" in parts._replace(netloc="").geturl():
            raise ValueError  # a part of the password would pass for a host or a path
        scheme = _SCHEME.fullmatch(parts.scheme)
        if scheme and scheme[3] == "+cluster":
            return _by_cluster(parts, tls=bool(scheme[2]))
        if scheme and scheme[3]:
            return _own_form(parts, tls=bool(scheme[2]))
        if "sentinel" in dict(parse_qsl(parts.query, keep_blank_values=True)):
            return _form_of_tooz(parts)
        server = _parsed(url.replace("valkey", "redis", 1) if scheme else url)
    except (ValueError, TypeError):
        raise ConfigError(FORMS) from None
    return Address(_without_secrets(parts), _hosts(parts) or "at its socket", server)


def _own_form(parts: SplitResult, *, tls: bool) -> Address:
    """Read ``redis+sentinel://user:password@host,host/MASTER/db``; TLS is for all of them."""
    master, _, database = parts.path.strip("/").partition("/")
    query = dict(parse_qsl(parts.query))
    query.setdefault("sentinel_ssl", "yes" if tls else "no")
    return _by_sentinels(parts, _hosts(parts).split(","), unquote(master), database, query, tls=tls)


def _by_cluster(parts: SplitResult, *, tls: bool) -> Address:
    """Read ``redis+cluster://user:password@host,host``: a few servers of one cluster."""
    query = dict(parse_qsl(parts.query))
    if {parts.path.strip("/"), query.pop("db", "")} - {"", "0"}:
        raise ConfigError(_ONE_DATABASE)
    return Address(
        shown=_without_secrets(parts),
        place=f"cluster {_hosts(parts)}",
        server=_arguments(query, parts.netloc.rpartition("@")[0], tls=tls),
        cluster=tuple(_host_and_port(text, 6379) for text in _hosts(parts).split(",")),
    )


def _form_of_tooz(parts: SplitResult) -> Address:
    """Read one host in its place and the others in the query; TLS is asked for of each kind."""
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    more = [value for name, value in pairs if name == "sentinel_fallback"]
    query = {name: value for name, value in pairs if name != "sentinel_fallback"}
    master, database = query.pop("sentinel"), query.pop("db", parts.path.strip("/"))
    tls = _is_yes(query.pop("ssl", "")) or parts.scheme in ("rediss", "valkeys")
    return _by_sentinels(parts, [_hosts(parts), *more], master, database, query, tls=tls)


def _by_sentinels(
    parts: SplitResult,
    hosts: list[str],
    master: str,
    database: str,
    query: dict[str, str],
    *,
    tls: bool,
) -> Address:
    """Divide the query: what begins with ``sentinel_`` is for sentinels, else for the primary."""
    if not master:
        raise ValueError
    theirs = {name[9:]: value for name, value in query.items() if name.startswith("sentinel_")}
    ours = {
        name: value
        for name, value in query.items()
        if not name.startswith("sentinel_") and name not in _NOT_OURS
    }
    server = _arguments({**ours, "db": database or "0"}, parts.netloc.rpartition("@")[0], tls=tls)
    asked_by_tls = _is_yes(theirs.pop("ssl", ""))
    login = ":".join(quote(theirs.pop(name, ""), safe="") for name in ("username", "password"))
    files = {name: value for name, value in ours.items() if name.startswith("ssl_")}
    theirs = {**files, **theirs} if asked_by_tls else theirs
    if any(not name.startswith("ssl_") for name in theirs):
        raise ValueError  # nothing else is known of sentinels
    return Address(
        shown=_without_secrets(parts),
        place=f"{master} of sentinels {','.join(hosts)}",
        server=server,
        sentinels=tuple(_host_and_port(text, 26379) for text in hosts),
        master=master,
        sentinel=_arguments(theirs, login, tls=asked_by_tls),
    )


def _arguments(query: dict[str, str], user: str, *, tls: bool) -> dict[str, Any]:
    """Return redis-py's arguments for a connection to a server that is named later."""
    login = f"{user}@" if user.strip(":") else ""
    found = _parsed(f"redis://{login}host/?{urlencode(query)}")
    del found["host"]
    return {**found, "ssl": True} if tls else found


def _parsed(url: str) -> dict[str, Any]:
    return dict(parse_url(url))  # type: ignore[no-untyped-call]


def _host_and_port(text: str, usual: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    port = int(found[2] or usual) if found else 0
    if not found or not 0 < port < 65536:
        raise ValueError
    return found[1].strip("[]"), port


def _is_yes(value: str) -> bool:
    return value.lower() in _YES


def _hosts(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _without_secrets(parts: SplitResult) -> str:
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in _SECRETS]
    tail = f"?{urlencode(query, safe=':')}" if query else ""
    return f"{parts.scheme}://{_hosts(parts)}{parts.path}{tail}"
