"""The peer's figures: a stock Nova on the same PostgreSQL, in the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from benchmarks.nova_peer import measure, seed
from benchmarks.nova_peer.deployment import NOBODY, Conductor, Databases, NovaPeer
from benchmarks.nova_peer.install import InstallError
from benchmarks.nova_peer.measure import Heartbeats, Listing
from benchmarks.nova_peer.rabbitmq import RabbitMQ
from servers.postgresql import PostgreSQL

REPORTERS = 4


class Nova(Struct, frozen=True):
    """What Nova took: lists by (services, whether of all hosts), and heartbeats by conductor.

    Without Nova there is nothing of either, and without RabbitMQ there are no heartbeats;
    ``missing`` says why, in one sentence.
    """

    lists: dict[tuple[int, bool], Listing]
    heartbeats: Heartbeats | None
    missing: str


def nova(
    postgresql: PostgreSQL, sizes: Sequence[int], runs: int, say: Callable[[str], None]
) -> Nova:
    """Bring a Nova up, measure it and tear it down; raises ServerError, MeasurementError."""
    if not RabbitMQ.installed():
        return _measured(postgresql, None, sizes, runs, say)
    with RabbitMQ() as rabbitmq:
        return _measured(postgresql, rabbitmq, sizes, runs, say)


def _measured(
    postgresql: PostgreSQL,
    rabbitmq: RabbitMQ | None,
    sizes: Sequence[int],
    runs: int,
    say: Callable[[str], None],
) -> Nova:
    say("Bringing up Nova ...")
    databases = Databases(*(postgresql.database() for _ in Databases._fields))
    try:
        peer = NovaPeer(databases, rabbitmq.url if rabbitmq else NOBODY)
    except InstallError as error:
        return Nova({}, None, str(error))
    charged = {"nova": 0, "postgresql": postgresql.pid}
    lists: dict[tuple[int, bool], Listing] = {}
    heartbeats = None
    with peer:
        charged["nova"] = peer.pid
        for size in sizes:
            seed.seed(databases, size)
            for host in (None, seed.host(size // 2 + 1)):
                say(f"Nova: list of {host or 'all'} of {size} ...")
                lists[size, host is None] = measure.listing(peer, charged, size, runs, host)
        if rabbitmq:
            say("Nova: heartbeats through the conductor ...")
            with Conductor(peer) as conductor:
                servers = {
                    "conductor": conductor.pid,
                    "rabbitmq": rabbitmq.pid,
                    "postgresql": postgresql.pid,
                }
                heartbeats = measure.heartbeats(peer, servers, "conductor", REPORTERS, runs)
    missing = "" if rabbitmq else "RabbitMQ is not installed, so Nova has no conductor path."
    return Nova(lists, heartbeats, missing)
