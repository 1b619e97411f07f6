"""Driver ``memcached``: a key per member, and a miss counts only where it proves something.

A member's key is written by its heartbeats and holds its newest living incarnation. Every server
also holds, for the keys it owns, what makes a miss believable (MC-4, MC-5, MC-7):

``canary``
    A key without expiry that names the list of servers its agents use. A heartbeat that does not
    find it, or finds another list, writes it anew on every server; so it is missing while a server
    was restarted or emptied, and wrong while lists differ.
``doubt``
    A key written just before the canary, and by agents that come back to a server which lost
    them. It lives for one time to live: as long as it is there, members may not be back yet.
    Whoever connects to a server that was restarted and kept its keys (-e) writes it too.

Whoever asks reads both after the members' keys, in the same command, so an observer that has just
started knows as much as another. What it remembers beside them is small: that a server did not
answer, and its eviction counter, which is asked for only when somebody is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import secrets
import zlib
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import repeat
from urllib.parse import quote

import msgspec
from pymemcache.client.base import Client

from servicegroup.driver import Driver, Watcher
from servicegroup.drivers.groups import kept_for_many
from servicegroup.drivers.memcached.options import MemcachedOptions, addresses_of, login_of, tls_of
from servicegroup.drivers.memcached.reading import read_many
from servicegroup.drivers.memcached.server import DOUBT, EMPTIED, Server
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.per_process import PerProcess

_PREFIX = "servicegroup:"
_CANARY = f"{_PREFIX}canary"
_LISTS = b"lists"

_LONGEST_KEY = 250
_LONGEST_LIFE = 30 * 24 * 3600  # a longer one is read as a date, long past (MC-2)
_CLOCK = 2  # seconds by which its clock can shorten a time to live (MC-1)
_UNLEARNT_TTL = 60.0
_TRIES = 10
_LENGTHS = (30, 50, 80, 120)
"""Of members' keys, in each of the classes of memory that names of hosts are in."""
_QUESTIONS = 8
"""Questions at once that a silent server leaves a thread for each of the others."""


class MemcachedDriver(Driver):
    """Presence as keys that expire. Only the newest living incarnation of a member is known."""

    name = "memcached"
    Options = MemcachedOptions
    options: MemcachedOptions

    def __init__(self, options: MemcachedOptions) -> None:
        """Keep the list of servers; raises ConfigError for one that cannot be a server."""
        super().__init__(options)
        timeouts = (options.connect_timeout, options.answer_timeout)
        proof = (tls_of(options), login_of(options))
        self._servers = [Server(*address, *timeouts, *proof) for address in addresses_of(options)]
        names = ",".join(server.name for server in self._servers)
        self._fingerprint = hashlib.sha256(names.encode()).hexdigest()[:16].encode()
        self._ttl: float | None = None
        self._owned = kept_for_many(self._by_server)
        self._threads = PerProcess(lambda: ThreadPoolExecutor(_QUESTIONS * len(self._servers)))

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        """Write the member's key unless a newer incarnation holds it; see ``Driver``.

        Raises ConfigError for a time to live that memcached cannot keep (MC-2).
        """
        key, life = member_key(member), _life(ttl)
        value = b"%d %g" % (incarnation, ttl)
        server = self._owner(key)
        planted = False

        def beat(client: Client) -> bool:
            nonlocal planted
            held = client.gets_many([key, _CANARY])
            canary, _ = held.get(_CANARY, (None, None))
            lost = key not in held and server.is_recovering(ttl)
            # Written first: where that is refused nobody is on the way back, and no doubt says so.
            written = write(client, *held.get(key, (b"", b"")))
            planted |= self._plant(client, canary, life, lost=lost)
            return written

        def write(client: Client, found: bytes, token: bytes) -> bool:
            if not token:
                return bool(client.add(key, value, expire=life, noreply=False))
            if (parse(found) or (0, 0))[0] > incarnation:
                return True
            return bool(client.cas(key, value, token, expire=life, noreply=False))

        self._until_done(server, beat)
        if planted:
            self._plant_elsewhere(server, life)

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        """Free the member's key, if that incarnation (or None: any) holds it."""
        key = member_key(member)

        def free(client: Client) -> bool:
            if incarnation is None:
                client.delete(key, noreply=False)
                return True
            found, token = client.gets(key)
            if (parse(found or b"") or (None,))[0] != incarnation:
                return True
            # There is no conditional delete; a conditional write that has expired is one.
            return client.cas(key, b"", token, expire=-1, noreply=False) is not False

        self._until_done(self._owner(key), free)

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Ask each server once for its keys, and once more if some are missing.

        All are asked at the same time, so those that do not answer cost one time limit (F-18).
        ``age`` is unknown: memcached tells that a key lives, not since when.
        """
        owned = self._owned(members)
        asked = [server for server in self._servers if owned[server] or not server.failing]
        found = self._at_once(lambda server: self._view(server, list(owned[server])), asked)
        views = dict(zip(asked, found, strict=True))
        lists = next((view.doubt for view in views.values() if view.lists_differ), "")
        answers: dict[Member, Presence] = {}
        for server, view in views.items():
            answers.update(self._answers(server, owned[server], view, view.doubt or lists))
        return answers

    def prove(self, member: Member) -> None:
        """Write a key to the member's server, as large as the member's; see ``Driver``."""
        key = member_key(member)
        self._owner(key).prove(_proof_key(key))

    def server_of(self, member: Member) -> str:
        """Return the server whose key it is: servers know nothing of each other."""
        return self._owner(member_key(member)).name

    def watch(self, callback: Watcher) -> None:
        """Do nothing: memcached cannot push (MC-8)."""

    def detection_time(self, ttl: float) -> float:
        """Return the seconds after which the key is gone: whole ones, and two more (MC-1).

        Raises ConfigError for a time to live that memcached cannot keep (MC-2).
        """
        return float(_life(ttl))

    def warnings(self) -> list[str]:
        """Say which servers evict (MC-4), or let everybody in though there is a user (MC-10).

        Raises DriverUnavailable also for a server that answers and takes no writes (F-1).
        """
        found = []
        for server in self._servers:
            for length in _LENGTHS:
                server.prove(_proof_key("~" * length))
            if count := server.evictions():
                found.append(
                    f"memcached {server.name} has evicted {count} keys since it started: give"
                    " servicegroup servers of its own, or this one more memory."
                )
            if self.options.username and server.lets_everybody_in:
                found.append(
                    f"memcached {server.name} lets everybody in, though username is set: start it"
                    " with -Y FILE, or remove username and password."
                )
        return found

    def close(self) -> None:
        """Close idle connections. Members stay until they expire."""
        threads = self._threads.pop()
        if threads is not None:
            threads.shutdown()
        for server in self._servers:
            server.close()

    # -- writing ---------------------------------------------------------------------------

    def _by_server(self, members: Collection[Member]) -> dict[Server, dict[str, Member]]:
        owned: dict[Server, dict[str, Member]] = {server: {} for server in self._servers}
        for member in members:
            key = member_key(member)
            owned[self._owner(key)][key] = member
        return owned

    def _owner(self, key: str) -> Server:
        return self._servers[zlib.crc32(key.encode()) % len(self._servers)]

    def _plant(
        self, client: Client, canary: bytes | None, life: int, *, lost: bool = False
    ) -> bool:
        """Plant the canary unless it is in order and nothing was lost; tell whether it was not.

        The doubt comes first, so that there is no new canary without it.
        """
        if canary == self._fingerprint and not lost:
            return False
        lists_differ = canary not in (None, self._fingerprint)
        client.set(DOUBT, _LISTS if lists_differ else EMPTIED, expire=life, noreply=False)
        client.set(_CANARY, self._fingerprint, noreply=False)
        return True

    def _plant_elsewhere(self, own: Server, life: int) -> None:
        """See to the canaries of servers that may have no member, and so no heartbeats, now."""
        for server in self._servers:
            if server is not own and not server.failing:
                with contextlib.suppress(DriverUnavailable):
                    server.ask(lambda client: self._plant(client, client.get(_CANARY), life))

    def _until_done(self, server: Server, change: Callable[[Client], bool]) -> None:
        """Make a conditional change again until nobody else's came between."""
        for _ in range(_TRIES):
            if server.ask(change):
                return
        raise DriverUnavailable(f"memcached {server.name}: others keep changing the same member.")

    # -- reading ---------------------------------------------------------------------------

    def _at_once(self, view: Callable[[Server], _View], asked: list[Server]) -> Iterable[_View]:
        return self._threads.get().map(view, asked) if len(asked) > 1 else map(view, asked)

    def _view(self, server: Server, keys: list[str]) -> _View:
        try:
            # The order matters: a server emptied half-way has lost its canary too, and whoever
            # plants a new one has written the doubt before.
            found = server.ask(lambda client: read_many(client, [*keys, _CANARY, DOUBT]))
            canary, doubt = found.pop(_CANARY, None), found.pop(DOUBT, None)
            if len(found) < len(keys):
                server.note_evictions()
        except DriverUnavailable as error:
            return _View(failure=str(error))
        # Most hold the same: the first life of a host, for the time that everybody has.
        lives = {value: parse(value) for value in set(found.values())}
        if ttls := [life[1] for life in lives.values() if life]:
            self._ttl = max(*ttls, self._ttl or 0.0)
        return _View(found, lives, *self._doubt(server, canary, doubt))

    def _doubt(self, server: Server, canary: bytes | None, doubt: bytes | None) -> tuple[str, bool]:
        """Say why a miss proves nothing, or nothing; and whether that is so on every server."""
        if canary is None:
            return f"{server.name} was restarted or emptied, or no agent uses it yet", False
        if canary != self._fingerprint or doubt == _LISTS:
            return f"agents of {server.name} use another list of servers", True
        if doubt is not None:
            return f"recovering: {server.name} was restarted, emptied or away", False
        if server.is_recovering(self._ttl or _UNLEARNT_TTL):
            return f"recovering: {server.name} did not answer, or evicted keys, lately", False
        return "", False

    def _answers(
        self, server: Server, owned: dict[str, Member], view: _View, doubt: str
    ) -> Iterable[tuple[Member, Presence]]:
        if view.failure:
            unknown = Presence(PresenceState.UNKNOWN, detail=view.failure)
            return zip(owned.values(), repeat(unknown))
        missing = Presence(PresenceState.ABSENT, detail=f"no key on {server.name}")
        if doubt:
            missing = Presence(PresenceState.UNKNOWN, detail=doubt)
        strange = Presence(PresenceState.UNKNOWN, detail=f"unreadable key on {server.name}")
        held = f"key on {server.name}"
        answers: dict[bytes | None, Presence] = {
            value: Presence(PresenceState.PRESENT, frozenset((life[0],)), detail=held)
            if life
            else strange
            for value, life in view.lives.items()
        }
        answers[None] = missing
        found = map(answers.__getitem__, map(view.values.get, owned))
        return zip(owned.values(), found, strict=True)


class _View(msgspec.Struct, frozen=True):
    """What one server answered: its keys, and why those that are missing prove nothing.

    ``lives`` has what each value means, None for one that is unreadable.
    """

    values: dict[str, bytes] = {}
    lives: dict[bytes, tuple[int, float] | None] = {}
    doubt: str = ""
    lists_differ: bool = False
    failure: str = ""


def parse(value: bytes) -> tuple[int, float] | None:
    """Return incarnation and time to live (seconds) of a member's value; None for any other."""
    incarnation, _, ttl = value.partition(b" ")
    try:
        number, seconds = int(incarnation), float(ttl)
    except ValueError:
        return None
    return (number, seconds) if 0 < seconds <= _LONGEST_LIFE else None


@lru_cache(maxsize=65536)
def member_key(member: Member) -> str:
    """Return the member's key: readable where it can be, hashed where it is too long (MC-3)."""
    key = f"{_PREFIX}{quote(member.group, safe='')}:{quote(member.host, safe='')}"
    if len(key) <= _LONGEST_KEY:
        return key
    return f"{_PREFIX}#{hashlib.sha256(key.encode()).hexdigest()}"


def _proof_key(like: str) -> str:
    """Return a new key that is no member's, as long as ``like``: memory is given out by size."""
    return f"{_PREFIX}~{secrets.token_hex(8)}".ljust(len(like), "~")


def _life(ttl: float) -> int:
    """Return the expiry that keeps a key for ``ttl`` seconds at least (MC-1).

    A key set for n seconds lives for n - 1 to n; for n - 2 at the least where memcached's clock,
    which a timer of a little more than a second reads, skips one. Raises ConfigError (MC-2).
    """
    life = math.ceil(ttl) + _CLOCK
    if life > _LONGEST_LIFE:
        raise ConfigError(
            f"membership_ttl = {ttl:g} is longer than memcached keeps a key;"
            f" the most is {_LONGEST_LIFE - _CLOCK} seconds."
        )
    return life
