"""The nodes that are members, and those of them that this process keeps in being.

A node's name says everything: ``<percent-encoded host>@<incarnation>@<session>``. One listing
answers for a whole group, a restarted member meets nothing to take over (ZK-1), and the workers
of one service do not fight for a node (ZK-15).
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from kazoo.exceptions import ConnectionLoss, NodeExistsError, NoNodeError

from servicegroup.drivers.zookeeper.client import Client
from servicegroup.drivers.zookeeper.session import PATIENCE, Session, left
from servicegroup.model import Member

# Decimal digits that fit in 63 bits, hexadecimal ones that fit in 64.
_NODE = re.compile(r"([^@/]+)@(0|[1-9][0-9]{0,17})@([0-9a-f]{1,16})")
_SESSION_BITS = 2**64 - 1


class Node(NamedTuple):
    """An ephemeral node: which life of which host, and the session it lives and ends with."""

    host: str
    incarnation: int
    session: int

    @property
    def name(self) -> str:
        """The node's name below its group."""
        return f"{component(self.host)}@{self.incarnation}@{self.session & _SESSION_BITS:x}"


def parse(name: str) -> Node | None:
    """Return the node of that name, or None for a name this driver would not have given."""
    match = _NODE.fullmatch(name)
    if match is None:
        return None
    try:
        host = unquote(match[1], errors="surrogatepass")
    except UnicodeDecodeError:
        return None
    node = Node(host, int(match[2]), int(match[3], 16))
    return node if node.name == name else None


def component(text: str) -> str:
    """Return any text as one component of a path, in which ``.`` and ``..`` mean nothing."""
    encoded = quote(text, safe="", errors="surrogatepass")
    return encoded if encoded.strip(".") else encoded.replace(".", "%2E")


class OwnNodes:
    """The nodes this process keeps, by member and incarnation, and those it deletes."""

    def __init__(self, session: Session, prefix: str) -> None:
        self._session = session
        self._prefix = prefix
        # Until when a member may be brought back without another heartbeat.
        self._until: dict[tuple[Member, int], float] = {}
        self._lock = threading.Lock()
        session.on_connect = self._reassert

    def join(self, member: Member, incarnation: int, ttl: float) -> None:
        """Make sure that the member's node exists and ends with this session (ZK-2, ZK-5)."""
        deadline = time.monotonic() + PATIENCE
        with self._lock:
            self._until[member, incarnation] = time.monotonic() + ttl
        client = self._session.connect(deadline)
        with self._session.translated():
            session, path = self._node(client, member, incarnation)
            stat = client.exists_async(path).get(timeout=left(deadline))
            if stat is not None and stat.ephemeralOwner != session:
                client.delete_async(path).get(timeout=left(deadline))
                stat = None
            if stat is None:
                created = client.create_async(path, ephemeral=True, makepath=True)
                with contextlib.suppress(NodeExistsError):  # by a reconnect at the same time
                    created.get(timeout=left(deadline))

    def leave(self, member: Member, incarnation: int | None) -> None:
        """Delete this process's own node, or the member's nodes, whoever made them."""
        deadline = time.monotonic() + PATIENCE
        with self._lock:
            held = [key for key in self._until if key[0] == member]
            for key in held:
                if incarnation in (None, key[1]):
                    del self._until[key]
        client = self._session.connect(deadline)
        with self._session.translated():
            if incarnation is not None and (member, incarnation) in held:
                paths = [self._node(client, member, incarnation)[1]]
            else:
                paths = self._all(client, member, incarnation, deadline)
            for deleted in [client.delete_async(path) for path in paths]:
                with contextlib.suppress(NoNodeError):
                    deleted.get(timeout=left(deadline))

    def _all(
        self, client: Client, member: Member, incarnation: int | None, deadline: float
    ) -> list[str]:
        directory = self._directory(member)
        client.sync_async(directory)  # a follower that lags behind would hide a node (ZK-12)
        names: list[str] = []
        with contextlib.suppress(NoNodeError):
            names = client.get_children_async(directory).get(timeout=left(deadline))
        nodes = [node for node in map(parse, names) if node and node.host == member.host]
        return [
            f"{directory}/{node.name}" for node in nodes if incarnation in (None, node.incarnation)
        ]

    def _reassert(self, client: Client) -> None:
        """Verify the own nodes on a new connection; in kazoo's thread, so without waiting.

        A member whose last heartbeat is older than its time to live has ceased, and is not
        brought back by a connection that happens to return.
        """
        now = time.monotonic()
        with self._lock:
            self._until = {key: until for key, until in self._until.items() if until > now}
            keys = list(self._until)
        for key in keys:
            _, path = self._node(client, *key)
            client.exists_async(path).rawlink(partial(self._recreate, client, key, path))

    def _recreate(self, client: Client, key: tuple[Member, int], path: str, found: Any) -> None:
        if found.successful() and found.value is None:
            with self._lock:  # or a leave in between would be undone (ZK-18)
                if key in self._until:
                    client.create_async(path, ephemeral=True)

    def _directory(self, member: Member) -> str:
        return f"{self._prefix}/{component(member.group)}"

    def _node(self, client: Client, member: Member, incarnation: int) -> tuple[int, str]:
        """Return this session's number and the path of the node it would hold."""
        identity = client.client_id
        if identity is None:
            raise ConnectionLoss
        session: int = identity[0]
        node = Node(member.host, incarnation, session)
        return session, f"{self._directory(member)}/{node.name}"
