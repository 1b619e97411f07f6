"""Driver ``etcd``: a member is a key on its agent's lease, which ends unless it is kept alive.

One lease carries all members of an agent process (ET-1). The control plane reads what a majority
of the servers agrees on at that moment, so a cluster without a quorum is UNKNOWN and never
"still there" (ET-5).
"""

from __future__ import annotations

import math
import re
import ssl
import time
from collections.abc import Callable, Collection
from typing import Annotated, NamedTuple

from msgspec import Meta
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from servicegroup.driver import Driver, GroupPresence, Watcher
from servicegroup.drivers.etcd.copies import Told
from servicegroup.drivers.etcd.gateway import Done, Gateway
from servicegroup.drivers.etcd.keys import Key, OwnKeys, below, directory
from servicegroup.drivers.etcd.proof import prove
from servicegroup.drivers.etcd.reader import Reader
from servicegroup.drivers.tls import TlsOptions, require_both
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.per_process import PerProcess

REVOKE_SLACK = 1.0
"""Seconds an expired lease may live on: it is looked for twice a second, then revoked by a vote."""

ELECTION = 2.0
"""Seconds until there is a new leader, at etcd's default election timeout."""


class EtcdOptions(TlsOptions, frozen=True, kw_only=True):
    """Section ``[etcd]``."""

    # fmt: off
    endpoints: Annotated[str, Meta(description=(
        "Client URLs of the servers, separated by commas. Name all of them: a server that is away"
        " or without a quorum is skipped."
    ))] = "http://127.0.0.1:2379"
    prefix: Annotated[str, Meta(description=(
        "The start of every key. Agents and control plane must use the same, or no service"
        " is ever present."
    ))] = "/servicegroups"
    timeout: Annotated[float, Meta(gt=0, description=(
        "Seconds a question may take, all endpoints together. Too low and a busy server is taken"
        " for one that is away; too high and a heartbeat misses its turn."
    ))] = 3.0
    username: Annotated[str, Meta(description=(
        "The user to log in as, for a cluster with authentication. Without that, everybody who"
        " reaches the servers can forge and remove members."
    ))] = ""
    password: Annotated[str, Meta(extra={"secret": True}, description=(
        "The password of username. It is never handed to agents: give it to each of them, as"
        " OS_ETCD__PASSWORD."
    ))] = ""
    # fmt: on


class EtcdDriver(Driver):
    """Members as keys on leases; see the module."""

    name = "etcd"
    Options = EtcdOptions
    options: EtcdOptions

    def __init__(self, options: EtcdOptions) -> None:
        """Check the options; raises ConfigError for those that cannot work."""
        super().__init__(options)
        _check(options)
        self._endpoints = _endpoints(options)
        self._tls = _tls(options)
        self._processes = PerProcess(self._started)

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        """Renew this process's lease, and make sure that the member's key is there and on it.

        A renewal within the last twentieth of ``ttl`` serves: the heartbeats of many members are
        one renewal. Raises DriverUnavailable.
        """
        self._process.own.join(Key(member, incarnation), ttl)

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        """Delete the key of this incarnation, or every key of the member for None.

        Raises DriverUnavailable.
        """
        if incarnation is None:
            keys = below(directory(self.options.prefix, member.group, member.host))
        else:
            keys = {"key": Key(member, incarnation).name(self.options.prefix)}
        self._process.gateway.ask("kv/deleterange", keys, Done)

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Answer with what a majority of the servers agrees on now, all groups in one question.

        UNKNOWN where there is no such answer. ABSENT reads UNKNOWN for one time to live after
        that, and after the store was emptied: members may still be on their way back.
        """
        present, missing = self._read(lambda reader: reader.read(members))
        return {member: present.get(member, missing) for member in members}

    def prove(self, member: Member) -> None:
        """Put a key on a new lease beside the member's; see ``Driver``."""
        prove(self._process.gateway, directory(self.options.prefix, member.group))

    def list_group(self, group: str) -> GroupPresence:
        """Answer like ``presence`` for everybody in a group."""
        present, missing = self._read(lambda reader: reader.read_group(group))
        return GroupPresence(
            {member.host: presence for member, presence in present.items()}, missing
        )

    def watch(self, callback: Watcher) -> None:
        """Do nothing: the gateway answers, it does not push."""

    def detection_time(self, ttl: float) -> float:
        """Return what it takes when the leader dies just before the lease would have ended.

        A new leader gives every lease its whole time to live again (ET-3). Without that it takes
        the time to live and up to a second, or longer when thousands end together (ET-2).
        """
        process = self._process
        effective = max(math.ceil(ttl), process.own.granted(ttl) or process.reader.longest_ttl or 0)
        return effective + ELECTION + effective + REVOKE_SLACK

    def warnings(self) -> list[str]:
        """Say which endpoints are of no use now, though others are, and which are too old (ET-4).

        Raises DriverUnavailable also where the cluster answers and takes no writes (F-17).
        """
        return self._process.gateway.examine()

    def close(self) -> None:
        """End this process's leases: its members are absent at once."""
        process = self._processes.pop()
        if process is not None:
            process.own.close()
            process.gateway.close()

    def _read(
        self, question: Callable[[Reader], dict[Member, Told]]
    ) -> tuple[dict[Member, Presence], Presence]:
        """Return who is present, and what is to be said of whoever is not."""
        reader, begun = self._process.reader, time.monotonic()
        try:
            held = question(reader)
        except DriverUnavailable as error:
            return {}, Presence(PresenceState.UNKNOWN, age=reader.silence, detail=str(error))
        age = time.monotonic() - begun
        if reader.recovering:
            detail = (
                "recovering: etcd was away or emptied, or has a new leader; members may come back"
            )
            missing = Presence(PresenceState.UNKNOWN, age=age, detail=detail)
        else:
            missing = Presence(PresenceState.ABSENT, age=age, detail="no key on a living lease")
        present = PresenceState.PRESENT
        return {
            member: Presence(present, incarnations, age, detail)
            for member, (incarnations, detail) in held.items()
        }, missing

    @property
    def _process(self) -> _Process:
        return self._processes.get()

    def _started(self) -> _Process:
        options = self.options
        user = (options.username, options.password) if options.username else None
        gateway = Gateway(self._endpoints, options.timeout, user, self._tls)
        own = OwnKeys(gateway, options.prefix, options.timeout)
        return _Process(gateway, own, Reader(gateway, options.prefix))


class _Process(NamedTuple):
    """What one process has of a driver: connections, its own keys, and what it reads."""

    gateway: Gateway
    own: OwnKeys
    reader: Reader


def _check(options: EtcdOptions) -> None:
    if not re.fullmatch(r"(/[^/]+)+", options.prefix):
        raise ConfigError(f"[etcd] prefix = {options.prefix} is not a path such as /servicegroups.")
    require_both("etcd", options, "username", "password")


def _endpoints(options: EtcdOptions) -> list[str]:
    """Return the endpoints; raises ConfigError for one that is not a client URL."""
    if "@" in options.endpoints:  # agents are told the endpoints, and errors name them
        raise ConfigError(
            "[etcd] endpoints carries a user or a password; set username and password instead."
        )
    endpoints = [text.strip().rstrip("/") for text in options.endpoints.split(",")]
    for endpoint in endpoints:
        try:
            url = parse_url(endpoint)
            usable = url.scheme in ("http", "https") and bool(url.host) and not url.path
        except LocationParseError:
            usable = False
        if not usable:
            raise ConfigError(
                f"[etcd] endpoints names {endpoint!r}, which is not a client URL such as"
                " http://127.0.0.1:2379."
            )
    return endpoints


def _tls(options: EtcdOptions) -> ssl.SSLContext | None:
    """Return the TLS settings; raises ConfigError for files that cannot be used."""
    tls = "https://" in options.endpoints
    options.check_files("etcd", tls=tls, remedy="https endpoints; change one or the other")
    return options.context("etcd") if tls else None
