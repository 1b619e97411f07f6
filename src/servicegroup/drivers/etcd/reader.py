"""Reads members, and notices when what it reads is not yet the whole truth."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from servicegroup.drivers.etcd.copies import Copy, Told
from servicegroup.drivers.etcd.gateway import Gateway, Header, Range, Ranges
from servicegroup.drivers.etcd.keys import below, directory
from servicegroup.drivers.groups import by_group
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member

RANGES_AT_ONCE = 100
"""Ranges in one question; a server takes 128 unless told otherwise."""

FEW = 8
"""Members up to which a group is not read as a whole; a large group takes long to read."""

USUAL_TTL = 10
"""Seconds members are given to come back where none was seen that says its time to live."""


class Reader:
    """What etcd holds, as one process reads it; safe to share between threads."""

    def __init__(self, gateway: Gateway, prefix: str) -> None:
        """Read the keys below ``prefix``."""
        self._gateway = gateway
        self._prefix = prefix
        self._header = Header()
        self._answered_at: float | None = None
        self._missed = False
        self._settled_at = 0.0
        self._copies: dict[bytes, Copy] = {}
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

    def read(self, members: Collection[Member]) -> dict[Member, Told]:
        """Return what is held of the groups of these members. Raises DriverUnavailable."""
        groups = by_group(members)
        whole = [group for group, own in groups.items() if len(own.hosts) > FEW]
        few = {group: own.hosts for group, own in groups.items() if len(own.hosts) <= FEW}
        names = [(group, host) for group, hosts in few.items() for host in hosts]
        return self._groups(whole) | self._members(names)

    def read_group(self, group: str) -> dict[Member, Told]:
        """Return what is held of a whole group. Raises DriverUnavailable."""
        return self._groups([group])

    def _groups(self, groups: Sequence[str]) -> dict[Member, Told]:
        """Read what has changed of groups that are known, and all of the others."""
        held: dict[Member, Told] = {}
        for ranges in _batched([below(directory(self._prefix, group)) for group in groups]):
            current = self._changed(ranges)
            rest = [range_ for range_ in ranges if range_["key"] not in current]
            current |= zip((range_["key"] for range_ in rest), self._whole(rest), strict=True)
            self._copies |= current
            for copy in current.values():
                held |= copy.held
        return held

    def _members(self, names: Sequence[tuple[str, str]]) -> dict[Member, Told]:
        """Read single members."""
        held: dict[Member, Told] = {}
        for ranges in _batched([below(directory(self._prefix, *name)) for name in names]):
            for copy in self._whole(ranges):
                held |= copy.held
        return held

    def _changed(self, ranges: Sequence[dict[str, bytes]]) -> dict[bytes, Copy]:
        """Bring copies up to date; return those for which what has changed tells enough."""
        known = [(one, self._copies[one["key"]]) for one in ranges if one["key"] in self._copies]
        header, answers = self._ask([copy.question(range_) for range_, copy in known])
        changed = {
            range_["key"]: copy.with_changes(self._prefix, header, answer)
            for (range_, copy), answer in zip(known, answers, strict=True)
        }
        current = {key: copy for key, copy in changed.items() if copy is not None}
        self._learn(current.values())
        return current

    def _whole(self, ranges: Sequence[dict[str, bytes]]) -> list[Copy]:
        """Read all of these ranges."""
        header, answers = self._ask(ranges)
        copies = [Copy.of(self._prefix, header, answer) for answer in answers]
        self._learn(copies)
        return copies

    def _learn(self, copies: Iterable[Copy]) -> None:
        longest = max((copy.longest_ttl for copy in copies), default=0)
        self.longest_ttl = max(self.longest_ttl or 0, longest) or None

    def _ask(self, ranges: Sequence[Mapping[str, Any]]) -> tuple[Header, list[Range]]:
        if not ranges:
            return self._header, []
        before = self._header
        question: dict[str, Any] = {"success": [{"request_range": range_} for range_ in ranges]}
        try:
            answer = self._gateway.ask("kv/txn", question, Ranges)
        except DriverUnavailable:
            self._missed = True
            raise
        self._note(before, answer.header)
        return answer.header, [response.response_range for response in answer.responses]

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


def _batched(ranges: Sequence[dict[str, bytes]]) -> Iterator[Sequence[dict[str, bytes]]]:
    for start in range(0, len(ranges), RANGES_AT_ONCE):
        yield ranges[start : start + RANGES_AT_ONCE]
