"""The keys that are members: those this process keeps on its lease, and those it reads.

A key is ``<prefix>/<group>/<host>/<incarnation>``, percent-encoded, and its value says how long
its lease was granted for: ``{"ttl": 10}``.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from servicegroup.drivers.etcd.gateway import (
    Done,
    Gateway,
    Granted,
    Header,
    KeptAlive,
    KeyValue,
    LeaseGone,
    Range,
    Ranges,
)
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member

RENEWAL_SHARE = 0.05
"""Of a time to live: how old a renewal may be to serve another member of the same process."""

RANGES_AT_ONCE = 100
"""Ranges in one question; a server takes 128 unless told otherwise."""

FEW = 8
"""Members up to which a group is not read as a whole; a large group takes long to read."""

USUAL_TTL = 10
"""Seconds members are given to come back where none was seen that says its time to live."""

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


class Held(NamedTuple):
    """One life of a member that etcd holds."""

    incarnation: int
    lease: int
    ttl: int | None


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


class Reader:
    """Reads members, and notices when what it reads is not yet the whole truth."""

    def __init__(self, gateway: Gateway, prefix: str) -> None:
        """Read the keys below ``prefix``."""
        self._gateway = gateway
        self._prefix = prefix
        self._header = Header()
        self._answered_at: float | None = None
        self._missed = False
        self._settled_at = 0.0
        self.longest_ttl: int | None = None
        """The longest time to live that was seen on a key, in seconds."""

    @property
    def silence(self) -> float | None:
        """Seconds since the last answer; None before the first."""
        return None if self._answered_at is None else time.monotonic() - self._answered_at

    @property
    def recovering(self) -> bool:
        """Whether members may not yet have come back from an outage: for one time to live."""
        return time.monotonic() < self._settled_at

    def read(self, members: Collection[Member]) -> dict[Member, list[Held]]:
        """Return what is held of the groups of these members. Raises DriverUnavailable."""
        return self._held(self._ranges(members))

    def read_group(self, group: str) -> dict[Member, list[Held]]:
        """Return what is held of a whole group. Raises DriverUnavailable."""
        return self._held([below(directory(self._prefix, group))])

    def _held(self, wanted: Sequence[dict[str, bytes]]) -> dict[Member, list[Held]]:
        held: dict[Member, list[Held]] = {}
        for ranges in _in_batches(wanted):
            for kv in self._ask(ranges):
                key = parse(self._prefix, kv.key)
                if key is not None:
                    ttl = _ttl(kv.value)
                    self.longest_ttl = max(self.longest_ttl or 0, ttl or 0) or None
                    life = Held(key.incarnation, kv.lease, ttl)
                    held.setdefault(key.member, []).append(life)
        return held

    def _ranges(self, members: Collection[Member]) -> list[dict[str, bytes]]:
        """Return one range for each group, or for each member where only a few are asked for."""
        groups: dict[str, list[str]] = {}
        for member in members:
            groups.setdefault(member.group, []).append(member.host)
        ranges = []
        for group, hosts in groups.items():
            names = [(group, host) for host in hosts] if len(hosts) <= FEW else [(group,)]
            ranges += [below(directory(self._prefix, *name)) for name in names]
        return ranges

    def _ask(self, ranges: Sequence[dict[str, bytes]]) -> Iterator[KeyValue]:
        before = self._header
        question: dict[str, Any] = {"success": [{"request_range": range_} for range_ in ranges]}
        try:
            answer = self._gateway.ask("kv/txn", question, Ranges)
        except DriverUnavailable:
            self._missed = True
            raise
        self._note(before, answer.header)
        return (kv for response in answer.responses for kv in response.response_range.kvs)

    def _note(self, before: Header, header: Header) -> None:
        """Remember what the store looks like, and when it was last found wanting.

        A store that has seen fewer changes than before the question, or is another one, was
        emptied. One that had as many again had everybody come back (MC-5's sibling). A leader that
        stalled until there was another may still end leases which that one renewed (ET-4); since
        the new one gives every lease its whole time again, waiting for that costs nothing (ET-3).
        """
        now = time.monotonic()
        replaced = before.raft_term > 0 and header.raft_term != before.raft_term
        emptied = before.revision > 0 and (
            header.revision < before.revision or header.cluster_id != before.cluster_id
        )
        if emptied or replaced or self._missed:
            self._settled_at = now + (self.longest_ttl or USUAL_TTL)
        self._missed = False
        self._answered_at = now
        self._header = header


def _in_batches(ranges: Sequence[dict[str, bytes]]) -> Iterator[Sequence[dict[str, bytes]]]:
    for start in range(0, len(ranges), RANGES_AT_ONCE):
        yield ranges[start : start + RANGES_AT_ONCE]


def _ttl(value: bytes) -> int | None:
    """Return the time to live a value states, or None for a value of somebody else's."""
    try:
        return msgspec.json.decode(value, type=_Value).ttl
    except (msgspec.DecodeError, RecursionError):
        return None
