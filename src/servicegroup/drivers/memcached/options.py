"""The section ``[memcached]``: its options, and what they mean to a connection."""

from __future__ import annotations

import re
import ssl
from typing import Annotated

import msgspec

from servicegroup.drivers.timeouts import AnswerTimeout, ConnectTimeout
from servicegroup.drivers.tls import TLS_REMEDY, TlsOptions, require_both
from servicegroup.errors import ConfigError

_DEFAULT_PORT = 11211
_SERVER = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(?::(\d{1,5}))?", re.ASCII)


class MemcachedOptions(TlsOptions, frozen=True, kw_only=True):
    """The section ``[memcached]``."""

    servers: Annotated[
        str,
        msgspec.Meta(
            description="The servers as host:port, with commas between; the port is 11211 unless"
            " given. Each member lives on one of them. Every agent and control plane must name the"
            " same servers, in any order: while lists differ, no member can be"
            " reported absent. Use dedicated servers, not a cache that evicts."
        ),
    ] = f"127.0.0.1:{_DEFAULT_PORT}"
    connect_timeout: ConnectTimeout = 1.0
    answer_timeout: AnswerTimeout = 1.0
    username: Annotated[
        str,
        msgspec.Meta(
            description="The user to log in as, for servers that were started with -Y. Without"
            " that, everybody who reaches a server can forge and remove members."
        ),
    ] = ""
    password: Annotated[
        str,
        msgspec.Meta(
            extra={"secret": True},
            description="The password of username. It is never handed to agents: give it to each"
            " of them, as OS_MEMCACHED__PASSWORD.",
        ),
    ] = ""
    tls: Annotated[
        bool,
        msgspec.Meta(
            description="Whether the servers speak TLS (memcached -Z). One that does not looks"
            " like a server that is away, and so does one that speaks it unasked."
        ),
    ] = False


def addresses_of(options: MemcachedOptions) -> list[tuple[str, int]]:
    """Return the servers, each once, in one order for all. Raises ConfigError."""
    addresses = sorted({_address(text) for text in options.servers.split(",") if text.strip()})
    if not addresses:
        raise ConfigError("[memcached] servers is empty; name at least one host:port.")
    return addresses


def login_of(options: MemcachedOptions) -> bytes:
    """Return user and password as the text protocol sends them, or nothing. Raises ConfigError.

    memcached ends a name at a colon, and both at the first blank.
    """
    require_both("memcached", options, "username", "password")
    for name, forbidden in (("username", ":"), ("password", "")):
        value = getattr(options, name)
        if any(letter.isspace() or letter in forbidden for letter in value):
            what = "a colon or a blank" if forbidden else "a blank"
            raise ConfigError(f"[memcached] {name} has {what}, which memcached -Y cannot compare.")
    return f"{options.username} {options.password}".encode() if options.username else b""


def _address(text: str) -> tuple[str, int]:
    found = _SERVER.fullmatch(text.strip())
    port = int(found[2] or _DEFAULT_PORT) if found else 0
    if not found or not 0 < port < 65536:
        raise ConfigError(f"[memcached] servers names {text.strip()!r}; write host:port.")
    return found[1].strip("[]"), port


def tls_of(options: MemcachedOptions) -> ssl.SSLContext | None:
    """Return the TLS settings; raises ConfigError for files that cannot be used."""
    options.check_files("memcached", tls=options.tls, remedy=TLS_REMEDY)
    return options.context("memcached") if options.tls else None
