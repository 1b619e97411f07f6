"""The proof that members can join: a new ephemeral node, as a member's is (F-1)."""

from __future__ import annotations

from kazoo.exceptions import ConnectionLoss, NodeExistsError

from servicegroup.drivers.zookeeper.client import Client
from servicegroup.drivers.zookeeper.session import Session, left
from servicegroup.errors import DriverUnavailable


def prove(session: Session, prefix: str, deadline: float) -> None:
    """Make a node below ``prefix`` that is no member, look at it, and delete it.

    It has one name for each session, so what a break-off left is met, and does not add up. A quota
    of ``prefix`` or of a node above it counts for it, that of a single group does not. Raises
    DriverUnavailable, at ``deadline`` on the monotonic clock at the latest.
    """
    client = session.connect(deadline)
    with session.translated():
        path = f"{prefix}/@proof-{_number(client):x}"
        try:
            _make(client, path, deadline)
        except NodeExistsError:
            client.delete_async(path).get(timeout=left(deadline))
            _make(client, path, deadline)
        found = client.exists_async(path)
        deleted = client.delete_async(path)
        if found.get(timeout=left(deadline)) is None:
            raise DriverUnavailable(
                f"ZooKeeper at {session.hosts} loses what was just written; check its servers."
            )
        deleted.get(timeout=left(deadline))


def _make(client: Client, path: str, deadline: float) -> None:
    client.create_async(path, ephemeral=True, makepath=True).get(timeout=left(deadline))


def _number(client: Client) -> int:
    """Return the session's number without its sign."""
    identity = client.client_id
    if identity is None:
        raise ConnectionLoss
    return int(identity[0]) % 2**64
