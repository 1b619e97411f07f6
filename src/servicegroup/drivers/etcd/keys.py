"""The keys that are members, and those of them that this process keeps on its lease.

A key is ``<prefix>/<group>/<host>/<incarnation>``, percent-encoded, and its value says how long
its lease was granted for: ``{"ttl": 10}``.
"""

from __future__ import annotations

import math
import re
import threading
import time
from typing import Annotated, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from servicegroup.decoding import decoder
from servicegroup.drivers.etcd.gateway import (
    Done,
    Gateway,
    Granted,
    KeptAlive,
    LeaseGone,
    Range,
)
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member

RENEWAL_SHARE = 0.05
"""Of a time to live: how old a renewal may be to serve another member of the same process."""

# Decimal digits that fit in 63 bits.
_INCARNATION = re.compile("0|[1-9][0-9]{0,17}")


class Key(NamedTuple):
    """One life of a member."""

    member: Member
    incarnation: int

    def name(self, prefix: str) -> bytes:
        """Return the key as etcd holds it."""
        return directory(prefix, *msgspec.structs.astuple(self.member)) + b"%d" % self.incarnation


def parse(prefix: str, name: bytes) -> Key | None:
    """Return the key of that name, or None for a name this driver would not have given."""
    parts = name.decode(errors="replace").removeprefix(f"{prefix}/").split("/")
    if len(parts) != 3 or not _INCARNATION.fullmatch(parts[2]):
        return None
    try:
        group, host = (unquote(part, errors="surrogatepass") for part in parts[:2])
    except UnicodeDecodeError:
        return None
    key = Key(Member(group, host), int(parts[2]))
    return key if key.name(prefix) == name else None


def directory(prefix: str, *names: str) -> bytes:
    """Return what the keys of a group, or of a member, begin with; any text may be a name."""
    encoded = [quote(name, safe="", errors="surrogatepass") for name in names]
    return "/".join([prefix, *encoded, ""]).encode()


def below(start: bytes) -> dict[str, bytes]:
    """Return the range of the keys that begin with ``start``, which ends in a slash."""
    return {"key": start, "range_end": start[:-1] + b"0"}  # 0 comes after the slash


class _Value(msgspec.Struct):
    ttl: Annotated[int, msgspec.Meta(gt=0, le=86_400)]


def ttl_of(value: bytes) -> int | None:
    """Return the time to live a value states, or None for a value of somebody else's."""
    try:
        return decoder(_Value).decode(value).ttl
    except (msgspec.DecodeError, RecursionError):
        return None


class _Lease(NamedTuple):
    id: int
    ttl: int
    renewed_at: float


class OwnKeys:
    """The keys of this process's members, on one lease for each time to live (ET-1)."""

    def __init__(self, gateway: Gateway, prefix: str, patience: float) -> None:
        """Put keys below ``prefix``; wait ``patience`` seconds for another thread's renewal."""
        self._gateway = gateway
        self._prefix = prefix
        self._patience = patience
        self._leases: dict[int, _Lease] = {}
        self._lock = threading.Lock()

    def join(self, key: Key, ttl: float) -> None:
        """Make sure that the key is there, on a lease with ``ttl`` seconds left.

        Whatever was lost is made anew: the key after an eviction, the lease after an expiry
        (ZK-2 is every backend's). Raises DriverUnavailable.
        """
        lease = self._kept(ttl)
        name = key.name(self._prefix)
        found = self._gateway.ask("kv/range", {"key": name, "keys_only": True}, Range)
        if any(kv.lease == lease.id for kv in found.kvs):
            return
        try:
            self._put(name, lease)
        except LeaseGone:  # it ended between two questions
            self._leases.clear()
            self._put(name, self._kept(ttl))

    def granted(self, ttl: float) -> int | None:
        """Return the seconds granted when ``ttl`` was asked for; None before that (ET-9)."""
        lease = self._leases.get(math.ceil(ttl))
        return lease and lease.ttl

    def close(self) -> None:
        """End the leases and the keys on them; their expiry does where etcd is away."""
        leases, self._leases = self._leases, {}
        try:
            for lease in leases.values():
                self._gateway.ask("lease/revoke", {"ID": lease.id}, Done)
        except DriverUnavailable:
            pass

    def _put(self, name: bytes, lease: _Lease) -> None:
        value = msgspec.json.encode(_Value(lease.ttl))
        self._gateway.ask("kv/put", {"key": name, "value": value, "lease": lease.id}, Done)

    def _kept(self, ttl: float) -> _Lease:
        """Return a lease that was renewed just now, or was granted for want of one."""
        seconds = math.ceil(ttl)
        if not self._lock.acquire(timeout=self._patience):
            raise DriverUnavailable("etcd does not answer; another heartbeat is still waiting.")
        try:
            lease, now = self._leases.get(seconds), time.monotonic()
            if lease is None or now - lease.renewed_at > RENEWAL_SHARE * ttl:
                lease = self._renewed(lease, now) or self._grant(seconds)
                self._leases[seconds] = lease
            return lease
        finally:
            self._lock.release()

    def _renewed(self, lease: _Lease | None, now: float) -> _Lease | None:
        if lease is None:
            return None
        answer = self._gateway.ask("lease/keepalive", {"ID": lease.id}, KeptAlive)
        if answer.result is None:
            raise DriverUnavailable("etcd renews no lease; check that the cluster has a leader.")
        return lease._replace(renewed_at=now) if answer.result.ttl > 0 else None

    def _grant(self, seconds: int) -> _Lease:
        now = time.monotonic()
        granted = self._gateway.ask("lease/grant", {"TTL": seconds}, Granted)
        return _Lease(granted.id, granted.ttl, now)
