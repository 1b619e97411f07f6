"""Who is in each group: the nodes as last listed, with every change since.

Where the server has lasting watches (from 3.6), one of them tells of every node and no listing is
repeated; else a group that changed is listed anew when it is asked for (ZK-9).
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from kazoo.exceptions import NodeExistsError, NoNodeError, UnimplementedError
from kazoo.handlers.threading import KazooTimeoutError

from servicegroup.driver import Watcher
from servicegroup.drivers.zookeeper.client import Client
from servicegroup.drivers.zookeeper.nodes import Node, component, parse
from servicegroup.drivers.zookeeper.session import PATIENCE, Session, left
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState

REREAD_INTERVAL = 0.5
"""Seconds at least between two listings of a group on a server without lasting watches (ZK-9)."""


TOLD = 3
"""Sessions of one host that people are told of; whoever may write can plant thousands."""


class _Held(NamedTuple):
    """What the backend holds of one host, ready to be answered."""

    nodes: frozenset[Node]
    incarnations: frozenset[int]
    detail: str

    @classmethod
    def of(cls, nodes: frozenset[Node]) -> _Held:
        newest = heapq.nlargest(TOLD, nodes)
        sessions = ", ".join(f"session 0x{node.session:x}" for node in reversed(newest))
        if len(nodes) > TOLD:
            sessions += f" and {len(nodes) - TOLD} more"
        return cls(nodes, frozenset(node.incarnation for node in nodes), sessions)


class View:
    """The hosts of one group. Changes come one at a time; questions may come from any thread."""

    def __init__(self, on_change: Watcher) -> None:
        """Tell ``on_change`` when it was outdated."""
        self._on_change = on_change
        self.connection = 0
        """The number of the connection it was listed on; 0 before the first listing."""
        self.outdated = False
        """Whether the group is known to have changed in ways the view does not show."""
        self._listed_at = 0.0
        self._held: dict[str, _Held] = {}

    def list(self, names: Iterable[str], connection: int) -> None:
        """Start anew from a listing made on the given connection."""
        nodes: dict[str, set[Node]] = {}
        for node in filter(None, map(parse, names)):
            nodes.setdefault(node.host, set()).add(node)
        self._held = {host: _Held.of(frozenset(found)) for host, found in nodes.items()}
        self._listed_at, self.connection = time.monotonic(), connection

    def change(self, node: Node, *, exists: bool) -> None:
        """Apply one node's creation or end."""
        held = self._held.get(node.host)
        nodes = held.nodes if held else frozenset()
        nodes = nodes | {node} if exists else nodes - {node}
        if nodes:
            self._held[node.host] = _Held.of(nodes)
        else:
            self._held.pop(node.host, None)

    def outdate(self, _event: object) -> None:
        """Take note that the group has changed; called in kazoo's callback thread."""
        self.outdated = True
        self._on_change(None)

    @property
    def hosts(self) -> Collection[str]:
        """The hosts that something is held of."""
        return list(self._held)

    def presences(self, hosts: Iterable[str], age: float, missing: Presence) -> Sequence[Presence]:
        """Return PRESENT with what is held of each host, ``missing`` where nothing is."""
        present = PresenceState.PRESENT
        return [
            missing if held is None else Presence(present, held.incarnations, age, held.detail)
            for held in map(self._held.get, hosts)
        ]

    def age(self, silence: float) -> float:
        """Return how many seconds ago the group was known to be so.

        A watched view is as old as the last word from the server, which would have told.
        """
        return time.monotonic() - self._listed_at if self.outdated else silence

    def is_due(self, connection: int) -> bool:
        """Say whether the group should be listed, on the connection of that number."""
        changed = self.outdated and time.monotonic() - self._listed_at >= REREAD_INTERVAL
        return changed or self.connection != connection


class Views:
    """The views of every group that was asked for; questions may come from any thread."""

    def __init__(self, session: Session, prefix: str, on_change: Watcher) -> None:
        """Watch below ``prefix`` and tell ``on_change`` who changed, or None: anybody."""
        self._session = session
        self._prefix = prefix
        self._on_change = on_change
        self._views: dict[str, View] = {}
        self._watched_connection = 0
        self._lasting = True
        # What changed while a listing was under way; None while there is none.
        self._journal: list[tuple[View, Node, bool]] | None = None
        self._lock = threading.Lock()
        self._listing = threading.Lock()

    def of(self, groups: Collection[str]) -> dict[str, View | DriverUnavailable]:
        """Return the current view of each group, or why there is none.

        A group is listed when first asked for and after every reconnect (ZK-10), several of them
        in one round trip. Raises DriverUnavailable where there is no connection.
        """
        deadline = time.monotonic() + PATIENCE
        # An answer that had to wait for a lost connection would come too late to be one.
        client = self._session.connect(0.0 if self._session.interrupted else deadline)
        views = {group: self._view(group) for group in groups}
        if not any(view.is_due(self._session.connection) for view in views.values()):
            return {**views}
        with self._session.translated():
            if not self._listing.acquire(timeout=left(deadline)):
                raise KazooTimeoutError
            try:
                return {**views, **self._list(client, views, deadline)}
            finally:
                self._journal = None
                self._listing.release()

    def _view(self, group: str) -> View:
        name = component(group)
        return self._views.get(name) or self._views.setdefault(name, View(self._on_change))

    def _list(
        self, client: Client, views: Mapping[str, View], deadline: float
    ) -> dict[str, DriverUnavailable]:
        """List the groups that are due, and return those that could not be listed."""
        connection = self._session.connection
        self._watch(client, connection, deadline)
        due = {group: view for group, view in views.items() if view.is_due(connection)}
        self._journal = []
        client.sync_async(self._prefix)  # a follower may lag behind what was acknowledged (ZK-12)
        asked = {group: self._ask(client, group, view) for group, view in due.items()}
        problems = {}
        for group, result in asked.items():
            try:
                with self._session.translated():
                    self._store(due[group], result, connection, deadline)
            except DriverUnavailable as error:
                problems[group] = error
        return problems

    def _watch(self, client: Client, connection: int, deadline: float) -> None:
        """Ask for the lasting watch, before anything is listed on a connection.

        A server without it answers so and closes the connection. It is not asked again: what is
        listed on the next connection is then watched group by group.
        """
        if self._watched_connection == connection:
            return
        self._make_prefix(client, deadline)
        if self._lasting:
            client.on_node = self._change
            try:
                client.add_watch_async(self._prefix).get(timeout=left(deadline))
            except UnimplementedError:
                self._lasting = False
                raise
        self._watched_connection = connection

    def _make_prefix(self, client: Client, deadline: float) -> None:
        """Make the node that all groups are below, where it, or the chroot, is missing.

        Below what nobody may make nobody can be present, so whoever asks hears that instead.
        """
        if client.exists_async(self._prefix).get(timeout=left(deadline)) is None:
            made = client.create_async(self._prefix, makepath=True)
            with contextlib.suppress(NodeExistsError):
                made.get(timeout=left(deadline))

    def _ask(self, client: Client, group: str, view: View) -> Any:
        """Ask for the group's nodes and, where nothing else tells, to be told once of a change."""
        view.outdated = False
        path = f"{self._prefix}/{component(group)}"
        if self._lasting:
            return client.get_children_async(path)
        client.exists_async(path, view.outdate)  # tells of a group that is made only now
        return client.get_children_async(path, view.outdate)

    def _store(self, view: View, result: Any, connection: int, deadline: float) -> None:
        """Keep a listing, and repeat what has changed since it was asked for.

        Had the end of a node been told before the listing that still has it was stored, it would
        else stay for ever.
        """
        names: Sequence[str] = ()
        try:
            names = result.get(timeout=left(deadline))
        except NoNodeError:  # nobody has joined
            pass
        except Exception:
            view.outdated = True
            raise
        with self._lock:
            view.list(names, connection)
            for changed, node, exists in self._journal or ():
                if changed is view:
                    view.change(node, exists=exists)

    def _change(self, path: str, exists: bool) -> None:
        """Apply a change that the lasting watch tells of; called in kazoo's callback thread."""
        group, _, name = path.removeprefix(f"{self._prefix}/").partition("/")
        view, node = self._views.get(group), parse(name)
        if view is None or node is None:
            return
        with self._lock:
            if self._journal is not None:
                self._journal.append((view, node, exists))
            view.change(node, exists=exists)
        self._on_change([Member(unquote(group, errors="surrogatepass"), node.host)])
