"""Driver ``redis``: one sorted set per group, each entry with its expiry by the server's clock.

The entry of a living incarnation is ``host@incarnation`` and its score is the millisecond at which
it expires. Writing and judging use the server's own time, so no other clock matters, and entries
are judged when they are read: nothing waits for Redis to announce an expiry (RD-1, RD-3).

Beside the groups are a few marks that make a missing entry believable, see ``scripts``. A handle
also remembers whether the server failed to answer, and its eviction counter. Only a primary is
believed: a replica may lag (RD-4). With sentinels, and in a cluster, each question is put to the
server that is called the primary at that moment, so one that was replaced and comes back is not
asked again (F-16).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import redis

from servicegroup.driver import Driver, GroupPresence, Watcher
from servicegroup.drivers.groups import by_group
from servicegroup.drivers.redis import keys, scripts
from servicegroup.drivers.redis.address import address_of
from servicegroup.drivers.redis.causes import IN_A_CLUSTER, NoPrimary, cause_of
from servicegroup.drivers.redis.client import client_of, close
from servicegroup.drivers.redis.cluster import through_a_move
from servicegroup.drivers.redis.entries import (
    entry_of,
    latest_expiry,
    listed,
    parse_canary,
)
from servicegroup.drivers.redis.guides import (
    find_primary,
    find_undisputed,
    follow_primary,
    guides_of,
    let_go,
)
from servicegroup.drivers.redis.options import RedisOptions
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState

_LATE = 0.5
"""Seconds of one heartbeat after which sentinels, or a cluster, say again where it belongs."""


class RedisDriver(Driver):
    """Presence as entries of sorted sets; every living incarnation of a member is known."""

    name = "redis"
    Options = RedisOptions

    def __init__(self, options: RedisOptions) -> None:
        """Keep the URL; raises ConfigError for one that leads to no server."""
        super().__init__(options)
        address = address_of(options.url)
        self._redis = client_of(address, options)
        self._url, self._where = address.shown, address.place
        self._by_cluster = bool(address.cluster)
        self._keys = keys.IN_ONE_SLOT if address.cluster else keys.ANYWHERE
        self._heartbeat = self._redis.register_script(scripts.HEARTBEAT)
        self._leave_all = self._redis.register_script(scripts.LEAVE_ALL)
        self._patience = options.answer_timeout
        self._failing = False
        self._doubted_at = -math.inf
        self._evicted = 0

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        """Set the entry's expiry and forget entries that expired long ago; see ``Driver``."""
        places = [self._keys.group(member.group), *self._keys.marks]
        args: list[bytes | str | int] = [entry_of(member, incarnation), math.ceil(ttl * 1000)]

        def write() -> None:
            started = time.monotonic()
            self._heartbeat(keys=places, args=args)
            if time.monotonic() - started > _LATE and guides_of(self._redis):
                # A primary that stood still so long may have been replaced without knowing it.
                let_go(self._redis)
                self._heartbeat(keys=places, args=args)

        self._write(write)

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        """Remove the entry of that incarnation, or of all of them for None; see ``Driver``."""
        group = self._keys.group(member.group)
        if incarnation is None:
            self._write(lambda: self._leave_all(keys=[group], args=[f"{member.host}@"]))
        else:
            self._write(lambda: self._redis.zrem(group, entry_of(member, incarnation)))

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Ask for all groups in one transaction.

        ``age`` is unknown; ``detail`` says for how long an entry still holds.
        """
        groups = by_group(members)
        listings = self._list_groups(groups)
        answers: dict[Member, Presence] = {}
        for group, own in groups.items():
            present, others = listings[group].present, listings[group].others
            found = [one or others for one in map(present.get, own.hosts)]
            answers.update(zip(own.members, found, strict=True))
        return answers

    def prove(self, member: Member) -> None:
        """Write to the server; what ``presence`` calls absent needs no more (see ``Driver``).

        Whoever restarts is hidden by its former life, which no write is needed to see.
        """
        with self._asking():
            find_primary(self._redis)
            proof = self._look()[1]
        if isinstance(proof, Exception):
            raise DriverUnavailable(
                f"redis {self._where} takes no writes: {self._cause(proof)}; see INFO and its log"
                " for what makes it refuse them: memory, disk or replicas."
            )

    def list_group(self, group: str) -> GroupPresence:
        """Ask for one group, all of it."""
        return self._list_groups({group})[group]

    def watch(self, callback: Watcher) -> None:
        """Do nothing: what Redis pushes may come late or never (RD-1, RD-2)."""

    def detection_time(self, ttl: float) -> float:
        """Return the time to live: the server's clock counts milliseconds."""
        return ttl

    def warnings(self) -> list[str]:
        """Say whether the server evicts, or will once its memory is full (RD-6).

        Raises DriverUnavailable for a server that is no primary, that refuses writes, or that
        sentinels, or the other servers of its cluster, could not replace or do not agree on.
        """
        with self._asking():
            if doubt := "; ".join(filter(None, find_undisputed(self._redis))):
                raise NoPrimary(doubt)
            info, proof = self._look()[:2]
            if isinstance(proof, Exception):
                raise proof
        policy, evicted = info.get("maxmemory_policy"), info.get("evicted_keys", 0)
        if not evicted and (not info.get("maxmemory") or policy == "noeviction"):
            return []
        found = f"redis {self._where} has maxmemory-policy {policy} and has evicted {evicted} keys"
        return [f"{found}: set noeviction, and give servicegroup a server of its own."]

    def shared_options(self) -> dict[str, Any]:
        """Return what ``Driver`` does, and the URL without user and password."""
        return {**super().shared_options(), "url": self._url}

    def close(self) -> None:
        """Close connections. Members stay until they expire."""
        close(self._redis)

    def _write(self, write: Callable[[], object]) -> None:
        """Ask the primary; one that was replaced acknowledges writes too, and nobody reads them."""
        with self._asking():
            follow_primary(self._redis)
            through_a_move(self._redis, write, self._patience)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Translate errors, and remember when the server failed and when it was back."""
        try:
            yield
        except (redis.RedisError, OSError) as error:
            self._failing = True
            let_go(self._redis)
            cause = self._cause(error)
            raise DriverUnavailable(f"redis {self._where} cannot be asked: {cause}.") from error
        if self._failing:
            self._failing, self._doubted_at = False, time.monotonic()

    def _cause(self, error: BaseException) -> str:
        return cause_of(error, by_cluster=self._by_cluster)

    def _list_groups(self, groups: Collection[str]) -> dict[str, GroupPresence]:
        try:
            with self._asking():
                apart, divided = find_undisputed(self._redis)
                info, proof, clock, marks, *listings = self._look(groups)
                if divided:
                    self._prolong_doubt(marks)
        except DriverUnavailable as error:
            unknown = Presence(PresenceState.UNKNOWN, detail=str(error))
            return dict.fromkeys(groups, GroupPresence({}, unknown))
        now = clock[0] + clock[1] / 1e6
        canary, doubt, longest = marks
        recovering = self._doubt(info, proof, canary, doubt)
        latest = latest_expiry(now, canary, longest)
        return {
            group: listed(listing, now, latest, apart or divided or recovering)
            for group, listing in zip(groups, listings, strict=True)
        }

    def _prolong_doubt(self, marks: list[bytes | None]) -> None:
        """Let doubt last one time to live longer than the guides name two primaries (F-21).

        It is for other control planes, too, unless the server takes no writes.
        """
        self._doubted_at = time.monotonic()
        if ttl := parse_canary(marks[0] or b""):
            with contextlib.suppress(redis.RedisError):
                self._redis.set(self._keys.doubt, "1", px=math.ceil(ttl * 1000))

    def _look(self, groups: Collection[str] = ()) -> list[Any]:
        """Ask for INFO, the proof, the time, the marks and each group's entries, as of one moment.

        The proof, and a group whose key holds something else, may come as the error it gave.
        Raises redis-py's errors, also for what is no primary of its own.
        """
        answers = through_a_move(self._redis, lambda: self._answers(groups), self._patience)
        for answer in (answers[0], *answers[2:4]):
            if isinstance(answer, Exception):
                raise answer
        if answers[0].get("role") != "master":
            raise redis.ReadOnlyError("it is a replica, and may lag; name the primary")
        if answers[0].get("cluster_enabled") and not self._by_cluster:
            raise redis.RedisError(IN_A_CLUSTER)
        return answers

    def _answers(self, groups: Collection[str]) -> list[Any]:
        with self._redis.pipeline(transaction=True) as question:
            question.info()
            question.eval(scripts.PROVE, 3, *self._keys.proof)
            question.time()
            question.mget(*self._keys.marks)
            for group in groups:
                # Not by ``zrange``, which would make a pair of each entry and its score.
                entries = (self._keys.group(group), 0, -1, "WITHSCORES")
                question.execute_command("ZRANGE", *entries)  # type: ignore[no-untyped-call]
            return list(question.execute(raise_on_error=False))

    def _doubt(
        self, info: dict[str, Any], proof: object, canary: bytes | None, doubt: bytes | None
    ) -> str:
        """Say why a missing entry proves nothing, or nothing."""
        evicted = int(info.get("evicted_keys", 0))
        refused = self._cause(proof) if isinstance(proof, Exception) else ""
        if evicted != self._evicted or refused:
            self._evicted, self._doubted_at = evicted, time.monotonic()
        if refused:
            return f"{self._where} cannot be written to: {refused}"
        ttl = parse_canary(canary or b"")
        if ttl is None:
            return f"{self._where} was emptied, or no agent uses it yet"
        if doubt is not None:
            return f"recovering: {self._where} was emptied, replaced or away, lately"
        if float(info.get("uptime_in_seconds", 0)) <= ttl + 1:
            return f"recovering: {self._where} has just started"
        if time.monotonic() - self._doubted_at < ttl:
            return (
                f"recovering: {self._where} did not answer, was replaced, refused a write or"
                " evicted, lately"
            )
        return ""
