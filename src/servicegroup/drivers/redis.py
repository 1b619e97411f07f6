"""Driver ``redis``: one sorted set per group, each entry with its expiry by the server's clock.

The entry of a living incarnation is ``host@incarnation`` and its score is the millisecond at which
it expires. Writing and judging use the server's own time, so no other clock matters, and entries
are judged when they are read: nothing waits for Redis to announce an expiry (RD-1, RD-3).

Beside the groups, two keys make a missing entry believable (RD-5, RD-6):

``canary``
    The time to live and the moment of the latest heartbeat. It is missing while the server was
    emptied; a heartbeat writes it anew.
``doubt``
    Written with a canary that was missing, or so old that everybody has expired, which is after a
    loss, a pause or a jump of the clock. It lives for one time to live: as long as it is there,
    members may not be back yet.

A handle also remembers which server answered last, whether one failed to, and its eviction
counter. Only a primary is believed: a replica may lag (RD-4).
"""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Collection, Iterator
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from servicegroup.driver import Driver, GroupPresence, Options, Watcher
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState

_CANARY = "servicegroup:canary"
_DOUBT = "servicegroup:doubt"
_SECRETS = frozenset({"username", "password", "ssl_password"})

# KEYS: group, canary, doubt. ARGV: entry, time to live in ms.
_HEARTBEAT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local ttl = tonumber(ARGV[2])
local latest = string.match(redis.call('GET', KEYS[2]) or '', '^%d+ (%d+)$')
local silent = latest and now - latest > ttl
if not latest or (silent and redis.call('ZCARD', KEYS[1]) > 0) then
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
end
redis.call('SET', KEYS[2], string.format('%d %d', ttl, now))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ttl)
redis.call('ZADD', KEYS[1], now + ttl, ARGV[1])
"""

# KEYS: group. ARGV: host and @. What follows it in an entry of that host is a number.
_LEAVE_ALL = """
local length = #ARGV[1]
for _, entry in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if string.sub(entry, 1, length) == ARGV[1] and not string.find(entry, '@', length + 1, true) then
    redis.call('ZREM', KEYS[1], entry)
  end
end
"""


class RedisOptions(Options, frozen=True, kw_only=True):
    """The section ``[redis]``."""

    url: Annotated[
        str,
        msgspec.Meta(
            extra={"secret": True},
            description="The primary, as redis://[user:password@]host:port/db, or rediss:// for"
            " TLS (with ?ssl_ca_certs=FILE). Agents get it without user and password. The"
            " server must not evict (maxmemory-policy noeviction): while it does, no member can be"
            " reported absent.",
        ),
    ] = "redis://127.0.0.1:6379/0"
    connect_timeout: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            description="Seconds to wait for a connection. Too low takes a busy network for a dead"
            " server; too high delays every answer while the server is away.",
        ),
    ] = 1.0
    answer_timeout: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            description="Seconds to wait for an answer. Too low takes a busy server for a dead"
            " one; keep it well below heartbeat_interval, or members expire while one attempt"
            " waits.",
        ),
    ] = 1.0


class RedisDriver(Driver):
    """Presence as entries of sorted sets; every living incarnation of a member is known."""

    name = "redis"
    Options = RedisOptions

    def __init__(self, options: RedisOptions) -> None:
        """Keep the URL; raises ConfigError for one that leads to no server."""
        super().__init__(options)
        self._redis = _client(options)
        self._url = _without_secrets(options.url)
        self._where = urlsplit(self._url).netloc or "at its socket"
        self._heartbeat = self._redis.register_script(_HEARTBEAT)
        self._leave_all = self._redis.register_script(_LEAVE_ALL)
        self._failing = False
        self._doubted_at = -math.inf
        self._run_id = ""
        self._evicted = 0

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        """Set the entry's expiry and forget entries that expired long ago; see ``Driver``."""
        keys = [_group_key(member.group), _CANARY, _DOUBT]
        with self._asking():
            self._heartbeat(keys=keys, args=[_entry(member, incarnation), math.ceil(ttl * 1000)])

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        """Remove the entry of that incarnation, or of all of them for None; see ``Driver``."""
        group = _group_key(member.group)
        with self._asking():
            if incarnation is None:
                self._leave_all(keys=[group], args=[f"{member.host}@"])
            else:
                self._redis.zrem(group, _entry(member, incarnation))

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Ask for all groups in one transaction.

        ``age`` is unknown; ``detail`` says for how long an entry still holds.
        """
        listings = self._list_groups({member.group for member in members})
        return {
            member: listings[member.group].present.get(member.host, listings[member.group].others)
            for member in members
        }

    def list_group(self, group: str) -> GroupPresence:
        """Ask for one group, all of it."""
        return self._list_groups({group})[group]

    def watch(self, callback: Watcher) -> None:
        """Do nothing: what Redis pushes may come late or never (RD-1, RD-2)."""

    def detection_time(self, ttl: float) -> float:
        """Return the time to live: the server's clock counts milliseconds."""
        return ttl

    def warnings(self) -> list[str]:
        """Say whether the server evicts, or will once its memory is full (RD-6)."""
        with self._asking():
            info = self._redis.info()
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
        self._redis.close()

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Translate errors, and remember when the server failed and when it was back."""
        try:
            yield
        except (redis.RedisError, OSError) as error:
            self._failing = True
            cause = str(error).rstrip(".") or type(error).__name__
            raise DriverUnavailable(f"redis {self._where} cannot be asked: {cause}.") from error
        if self._failing:
            self._failing, self._doubted_at = False, time.monotonic()

    def _list_groups(self, groups: Collection[str]) -> dict[str, GroupPresence]:
        try:
            info, clock, marks, *listings = self._ask(groups)
        except DriverUnavailable as error:
            unknown = Presence(PresenceState.UNKNOWN, detail=str(error))
            return dict.fromkeys(groups, GroupPresence({}, unknown))
        now = clock[0] + clock[1] / 1e6
        doubt = self._doubt(info, *marks)
        return {
            group: _listed(listing, now, doubt)
            for group, listing in zip(groups, listings, strict=True)
        }

    def _ask(self, groups: Collection[str]) -> list[Any]:
        """Return what the server says of itself, its time, both marks, and each group's entries.

        A group whose key holds something else comes as the error it gave.
        """
        with self._asking(), self._redis.pipeline(transaction=True) as question:
            question.info()
            question.time()
            question.mget(_CANARY, _DOUBT)
            for group in groups:
                question.zrange(_group_key(group), 0, -1, withscores=True)
            answers = question.execute(raise_on_error=False)
            for answer in answers[:3]:
                if isinstance(answer, Exception):
                    raise answer
            if answers[0].get("role") != "master":
                raise redis.ReadOnlyError("it is a replica, and may lag; name the primary")
        return answers

    def _doubt(self, info: dict[str, Any], canary: bytes | None, doubt: bytes | None) -> str:
        """Say why a missing entry proves nothing, or nothing."""
        run_id, evicted = str(info.get("run_id")), int(info.get("evicted_keys", 0))
        if run_id != (self._run_id or run_id) or evicted != self._evicted:
            self._doubted_at = time.monotonic()
        self._run_id, self._evicted = run_id, evicted
        ttl = parse_canary(canary or b"")
        if ttl is None:
            return f"{self._where} was emptied, or no agent uses it yet"
        if doubt is not None:
            return f"recovering: {self._where} was emptied, or away, lately"
        if float(info.get("uptime_in_seconds", 0)) <= ttl + 1:
            return f"recovering: {self._where} has just started"
        if time.monotonic() - self._doubted_at < ttl:
            return f"recovering: {self._where} did not answer, was replaced or evicted, lately"
        return ""


def _listed(listing: Any, now: float, doubt: str) -> GroupPresence:
    """Judge the entries of one group at the server's ``now``, in seconds."""
    if isinstance(listing, Exception):
        detail = f"the group's key is unreadable: {listing}"
        return GroupPresence({}, Presence(PresenceState.UNKNOWN, detail=detail))
    living: dict[str, dict[int, float]] = {}
    for entry, expiry in listing:
        host, incarnation = parse_entry(entry)
        if incarnation is not None and expiry / 1000 > now:
            # What is no UTF-8 is no member's name, and must not become one.
            name = host.decode(errors="surrogateescape")
            living.setdefault(name, {})[incarnation] = expiry / 1000 - now
    missing = Presence(PresenceState.ABSENT, detail="no living entry in the group")
    if doubt:
        missing = Presence(PresenceState.UNKNOWN, detail=doubt)
    return GroupPresence({host: _present(lives) for host, lives in living.items()}, missing)


def _present(living: dict[int, float]) -> Presence:
    detail = f"expires in {max(living.values()):.1f} s"
    return Presence(PresenceState.PRESENT, frozenset(living), detail=detail)


def parse_entry(entry: bytes) -> tuple[bytes, int | None]:
    """Return host and incarnation of an entry; None for what is no incarnation."""
    host, _, incarnation = entry.rpartition(b"@")
    try:
        return host, int(incarnation)
    except ValueError:
        return host, None


def parse_canary(value: bytes) -> float | None:
    """Return the time to live in seconds that the canary names; None for any other value."""
    found = re.fullmatch(rb"(\d{1,15}) \d{1,15}", value)
    return int(found[1]) / 1000 if found else None


def _entry(member: Member, incarnation: int) -> str:
    return f"{member.host}@{incarnation}"


def _group_key(group: str) -> str:
    return f"servicegroup:members:{group}"


def _client(options: RedisOptions) -> redis.Redis:
    try:
        client = redis.Redis.from_url(
            options.url,
            protocol=2,
            socket_connect_timeout=options.connect_timeout,
            socket_timeout=options.answer_timeout,
            # Once more at once, for a connection that turns out to be closed, as after a restart.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        if "@" in urlsplit(options.url)._replace(netloc="").geturl():
            raise ValueError  # a part of the password would pass for a host or a path
        client.connection_pool.make_connection()  # refuses unknown options; connects to nothing
    except (ValueError, TypeError):
        # What the parser says may quote a part of the password.
        raise ConfigError(
            "[redis] url cannot be used; write redis://user:password@host:port/db with special"
            " characters percent-encoded, and after ? only options redis-py knows."
        ) from None
    return client


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in _SECRETS]
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query=urlencode(query))
    return urlunsplit(bare)
