"""What an operator should know about the servers; asked by doctor, never for a verdict."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence

from kazoo.exceptions import NoNodeError
from kazoo.hosts import collect_hosts

from servicegroup.drivers.zookeeper.client import Client
from servicegroup.drivers.zookeeper.proof import prove
from servicegroup.drivers.zookeeper.session import Session, left
from servicegroup.errors import DriverUnavailable

PATIENCE = 5.0
"""Seconds that the servers have to answer all that is asked."""

WORD_PATIENCE = 1.0
"""Seconds that one server has to say whether it is read-only."""

JUTE_MAXBUFFER = 1_048_575
"""Bytes of an answer that ZooKeeper's own clients take, unless their jute.maxbuffer says more."""

_LONGEST_NAME = 3 * 255 + 40
"""Bytes of a node's name at the most: a host's, percent-encoded, incarnation and session."""


class Examination:
    """One look at the servers, by writing and reading below ``prefix``."""

    def __init__(self, session: Session, prefix: str) -> None:
        """Look through ``session``, and for at most ``PATIENCE`` seconds from now."""
        self._session = session
        self._prefix = prefix
        self._deadline = time.monotonic() + PATIENCE

    def run(self, *, tls: bool) -> list[str]:
        """Return a sentence for each group that other tools cannot list.

        Raises DriverUnavailable where nobody answers, or nobody may write.
        """
        try:
            client = self._session.connect(self._deadline)
        except DriverUnavailable as error:
            if not tls and (found := read_only_servers(self._session.hosts)):
                raise DriverUnavailable(
                    f"ZooKeeper at {','.join(found)} is read-only, having no quorum, and is asked"
                    " nothing; check the health of its members."
                ) from error
            raise
        prove(self._session, self._prefix, self._deadline)
        with self._session.translated():
            return [
                f"ZooKeeper's list of {self._prefix}/{group} has {size} bytes, more than the"
                f" {JUTE_MAXBUFFER} that zkCli and other Java tools read: use more groups, or set"
                " jute.maxbuffer of those tools."
                for group, size in self._sizes(client)
                if size > JUTE_MAXBUFFER
            ]

    def _sizes(self, client: Client) -> Iterator[tuple[str, int]]:
        """Yield the bytes of the list of each group that can have too many."""
        groups = client.get_children_async(self._prefix).get(timeout=left(self._deadline))
        asked = {group: client.exists_async(f"{self._prefix}/{group}") for group in groups}
        for group, found in asked.items():
            stat = found.get(timeout=left(self._deadline))
            if stat is None or stat.numChildren * (_LONGEST_NAME + 4) <= JUTE_MAXBUFFER:
                continue
            names: Sequence[str] = ()
            with contextlib.suppress(NoNodeError):
                listed = client.get_children_async(f"{self._prefix}/{group}")
                names = listed.get(timeout=left(self._deadline))
            yield group, size_of(names)


def size_of(names: Sequence[str]) -> int:
    """Return the bytes of an answer with these names (ZK-8)."""
    return sum(len(name.encode()) + 4 for name in names) + 20


def read_only_servers(hosts: str) -> list[str]:
    """Return those of the servers that say they are read-only now (readonlymode.enabled)."""
    found = []
    for host, port in collect_hosts(hosts)[0]:
        with contextlib.suppress(OSError):
            if _says(host, port, b"isro").strip() == b"ro":
                found.append(f"{host}:{port}")
    return found


def _says(host: str, port: int, word: bytes) -> bytes:
    """Return what a server answers to one of its four-letter words. Raises OSError."""
    with socket.create_connection((host, port), timeout=WORD_PATIENCE) as connection:
        connection.sendall(word)
        return connection.recv(64)
