"""Driver ``zookeeper``: a member is an ephemeral node that ends with its agent (spec S5, S6).

The agent's side keeps its nodes through reconnects and expiries by itself. The control plane's
side answers from watched views, and pushes what changes. How long a crash goes unnoticed is what
the server grants: the session timeout, not the time to live of a heartbeat.
"""

from __future__ import annotations

import importlib.util
import os
import re
import time
from collections.abc import Collection, Sequence
from typing import Annotated, Any, NamedTuple

from kazoo.hosts import collect_hosts
from kazoo.security import CREATOR_ALL_ACL
from msgspec import Meta

from servicegroup.driver import Capabilities, Driver, GroupPresence, Watcher
from servicegroup.drivers.groups import by_group
from servicegroup.drivers.tls import FILES, TLS_REMEDY, TlsOptions, require_both
from servicegroup.drivers.zookeeper.examination import Examination
from servicegroup.drivers.zookeeper.nodes import OwnNodes
from servicegroup.drivers.zookeeper.proof import prove
from servicegroup.drivers.zookeeper.session import PATIENCE, Session
from servicegroup.drivers.zookeeper.view import View, Views
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.per_process import PerProcess

EXPIRY_SLACK = 0.3
"""Seconds from the expiry of a session to the event at a watcher."""

_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[^/\0]+)+")

ELECTION = 2.0
"""Seconds until there is a new leader and clients are connected to it."""


class ZooKeeperOptions(TlsOptions, frozen=True, kw_only=True):
    """Section ``[zookeeper]``."""

    # fmt: off
    address: Annotated[str, Meta(description=(
        "Servers as host:port, separated by commas, with an optional /chroot at the end. Name all"
        " servers of the ensemble: with one name the members are lost when that one is down."
    ))] = "127.0.0.1:2181"
    session_timeout: Annotated[float, Meta(gt=0, description=(
        "Seconds without a sign of life after which the server ends a session and its members are"
        " absent. The server grants between 2 and 20 of its ticks whatever is asked for. Too low"
        " and a pause of the garbage collector or the network loses members; too high and a crash"
        " goes unnoticed for as long."
    ))] = 10.0
    tick_time: Annotated[float, Meta(gt=0, description=(
        "Seconds of the servers' tickTime; they round the end of a session up to it. It only"
        " affects the detection time that is shown; too low and that promises too much."
    ))] = 2.0
    prefix: Annotated[str, Meta(description=(
        "The node below which the groups are kept. Agents and control plane must use the same, or"
        " no service is ever present."
    ))] = "/servicegroups"
    username: Annotated[str, Meta(description=(
        "The user to log in as. With it, nodes are made so that only this user can read, make or"
        " delete members; without it, everybody who reaches the servers can (ZK-13)."
    ))] = ""
    password: Annotated[str, Meta(extra={"secret": True}, description=(
        "The password of username. It is never handed to agents: give it to each of them, as"
        " OS_ZOOKEEPER__PASSWORD."
    ))] = ""
    sasl_mechanism: Annotated[str, Meta(pattern="^(|DIGEST-MD5|GSSAPI)$", description=(
        "Empty for ZooKeeper's own digest scheme, else the SASL mechanism, DIGEST-MD5 or GSSAPI"
        " (Kerberos, with the ticket of this process); it needs the package pure-sasl."
    ))] = ""
    tls: Annotated[bool, Meta(description=(
        "Whether the servers' port is a secureClientPort. A plain port does not answer to TLS, nor"
        " the other way round, and both look like a server that is away."
    ))] = False
    # fmt: on

    @property
    def hosts(self) -> str:
        """The servers, without a chroot."""
        return self.address.partition("/")[0]

    @property
    def prefix_of_all(self) -> str:
        """The node below which the groups are, with the chroot: a path as the servers know it.

        A chroot is nothing but a beginning of every path; as a part of the prefix it is made with
        it, where it is not there yet.
        """
        _, slash, chroot = self.address.partition("/")
        return (slash + chroot).rstrip("/") + self.prefix


class ZooKeeperDriver(Driver):
    """Members as ephemeral nodes; see the module."""

    name = "zookeeper"
    capabilities = Capabilities(pushes=True)
    Options = ZooKeeperOptions
    options: ZooKeeperOptions

    def __init__(self, options: ZooKeeperOptions) -> None:
        """Check the options; raises ConfigError for those that contradict each other."""
        super().__init__(options)
        _check(options)
        self._watchers: list[Watcher] = []
        self._processes = PerProcess(self._started)

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        """Make sure the member's node is there and is ours; the session keeps it until it ends.

        While heartbeats are not older than ``ttl`` seconds, the node is also made again as soon
        as a lost connection or session is back. Raises DriverUnavailable.
        """
        self._process.own.join(member, incarnation, ttl)

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        """Delete the node of this incarnation, or every node of the member for None.

        A handle that holds the incarnation itself deletes its own node only: another worker of
        the service may live under the same number (ZK-15). Raises DriverUnavailable.
        """
        self._process.own.leave(member, incarnation)

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Answer from the watched views; only a group asked for the first time is listed.

        UNKNOWN while there is no connection (ZK-4); ABSENT reads UNKNOWN for one session timeout
        after it returned, since members may still be on their way back.
        """
        process, groups = self._process, by_group(members)
        try:
            views = process.views.of(groups)
        except DriverUnavailable as error:
            age = process.session.silence
            return dict.fromkeys(
                members, Presence(PresenceState.UNKNOWN, age=age, detail=str(error))
            )
        answers: dict[Member, Presence] = {}
        for group, own in groups.items():
            told = _answers(process.session, views[group], own.hosts)
            answers.update(zip(own.members, told, strict=True))
        return answers

    def prove(self, member: Member) -> None:
        """Make an ephemeral node below the prefix; see ``Driver``."""
        deadline = time.monotonic() + PATIENCE
        prove(self._process.session, self.options.prefix_of_all, deadline)

    def list_group(self, group: str) -> GroupPresence:
        """Answer like ``presence`` for everybody in a group."""
        process = self._process
        view: View | DriverUnavailable
        try:
            view = process.views.of({group})[group]
        except DriverUnavailable as error:
            view = error
        hosts = view.hosts if isinstance(view, View) else ()
        others, *told = _answers(process.session, view, ["", *hosts])  # nobody has the first name
        return GroupPresence(dict(zip(hosts, told, strict=True)), others)

    def watch(self, callback: Watcher) -> None:
        """Call back, in a thread of kazoo's, for members of the groups that were asked for."""
        self._watchers.append(callback)

    def detection_time(self, ttl: float) -> float:
        """Return what it takes when the leader dies just before the session would have ended.

        A new leader gives every session its whole time again (F-19). Without that it takes the
        session timeout in effect (ZK-6), one tick, and the way of the event.
        """
        timeout = self._process.session.timeout or self.options.session_timeout
        return timeout + ELECTION + timeout + self.options.tick_time + EXPIRY_SLACK

    def warnings(self) -> list[str]:
        """Say what the servers made of the session timeout (ZK-6), and which groups are too large.

        Raises DriverUnavailable also for servers that answer and take no writes: for want of a
        quorum, of rights or of space under a quota.
        """
        process = self._process
        examination = Examination(process.session, self.options.prefix_of_all)
        return [
            *examination.run(tls=self.options.tls),
            *_granted(self.options.session_timeout, process.session.timeout),
        ]

    def close(self) -> None:
        """End this process's session: its members are absent at once."""
        process = self._processes.pop()
        if process is not None:
            process.session.close()

    @property
    def _process(self) -> _Process:
        return self._processes.get()

    def _started(self) -> _Process:
        prefix = self.options.prefix_of_all
        session = Session(self._notify, prefix, **_client_options(self.options))
        return _Process(session, OwnNodes(session, prefix), Views(session, prefix, self._notify))

    def _notify(self, members: Collection[Member] | None) -> None:
        for callback in self._watchers:
            callback(members)


class _Process(NamedTuple):
    """What one process has of a driver: its session, its own nodes, and what it watches."""

    session: Session
    own: OwnNodes
    views: Views


def _answers(
    session: Session, view: View | DriverUnavailable, hosts: Sequence[str]
) -> Sequence[Presence]:
    """Return what to answer for each of some hosts of the group whose view this is."""
    silence = session.silence or 0.0
    if isinstance(view, DriverUnavailable):
        unknown = Presence(PresenceState.UNKNOWN, age=silence, detail=str(view))
        return [unknown] * len(hosts)
    age, timeout = view.age(silence), session.timeout or 0.0
    if session.recovering:
        detail = "recovering: the connection was lost, and members may still be on their way back"
        missing = Presence(PresenceState.UNKNOWN, age=age, detail=detail)
    else:
        detail = f"no node; a session ends {timeout:g} s after its last sign of life"
        missing = Presence(PresenceState.ABSENT, age=age, detail=detail)
    return view.presences(hosts, age, missing)


def _granted(asked: float, granted: float | None) -> list[str]:
    if granted is None or abs(granted - asked) < 0.001:
        return []
    found = f"ZooKeeper made {granted:g} s of session_timeout = {asked:g}, by 2 to 20 ticks"
    return [f"{found}: set what it grants, or another tickTime on the servers."]


def _client_options(options: ZooKeeperOptions) -> dict[str, Any]:
    """Return the options as kazoo knows them."""
    chosen: dict[str, Any] = {"hosts": options.hosts, "timeout": options.session_timeout}
    if options.sasl_mechanism:
        chosen["sasl_options"] = {"mechanism": options.sasl_mechanism} | {
            key: getattr(options, key) for key in ("username", "password") if options.username
        }
    elif options.username:
        chosen["auth_data"] = [("digest", f"{options.username}:{options.password}")]
    if options.username or options.sasl_mechanism:
        chosen["default_acl"] = CREATOR_ALL_ACL
    if options.tls:
        files = {key: getattr(options, key) or None for key in FILES}
        chosen |= {"use_ssl": True, "check_hostname": True, **files}
    return chosen


def _check(options: ZooKeeperOptions) -> None:
    """Refuse what cannot work, before anything is connected."""
    try:
        collect_hosts(options.address)
    except ValueError as error:
        raise ConfigError(
            f"[zookeeper] address = {options.address} is not host:port,host:port; {error}."
        ) from error
    if not _PATH.fullmatch(options.prefix):
        raise ConfigError(
            f"[zookeeper] prefix = {options.prefix} is not a path such as /servicegroups."
        )
    if not _PATH.fullmatch(options.prefix_of_all):
        raise ConfigError(
            f"[zookeeper] address = {options.address} ends in no path such as /openstack."
        )
    if options.sasl_mechanism and importlib.util.find_spec("puresasl") is None:
        raise ConfigError(
            f"[zookeeper] sasl_mechanism = {options.sasl_mechanism} needs the package pure-sasl;"
            " pip install pure-sasl."
        )
    require_both("zookeeper", options, "username", "password")
    options.check_files("zookeeper", tls=options.tls, remedy=TLS_REMEDY)
    for key in FILES:
        if getattr(options, key) and not os.access(getattr(options, key), os.R_OK):
            raise ConfigError(f"[zookeeper] {key} = {getattr(options, key)} cannot be read.")
