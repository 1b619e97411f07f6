"""The proof that members can join: a new key on a lease of its own, as a member's is (F-1)."""

from __future__ import annotations

from servicegroup.drivers.etcd.gateway import Done, Gateway, Granted, Range
from servicegroup.errors import DriverUnavailable

LIFE = 2
"""Seconds after which what was written ends by itself, where the proof breaks off half-way."""


def prove(gateway: Gateway, directory: bytes) -> None:
    """Write below ``directory`` what is no member, read it back, and remove it.

    A lease that lives on can be renewed where nothing can be written, so it needs a new one.
    Raises DriverUnavailable.
    """
    lease = gateway.ask("lease/grant", {"TTL": LIFE}, Granted)
    name = directory + b"@proof-%x" % lease.id
    gateway.ask("kv/put", {"key": name, "lease": lease.id}, Done)
    found = gateway.ask("kv/range", {"key": name, "keys_only": True}, Range)
    if not found.kvs:
        raise DriverUnavailable(
            "etcd loses what was just written; check the health of its members."
        )
    gateway.ask("lease/revoke", {"ID": lease.id}, Done)
