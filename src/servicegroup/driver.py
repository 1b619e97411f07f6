"""What a liveness backend must do, and how one is loaded by name.

A driver says who is present, and nothing else: it knows no SQL, no HTTP and no configuration
file, owns no loops, timers or threads of its own (a client library's session thread excepted),
and every method but ``list_group``, ``server_of`` and ``prove`` is required. A new driver is one
file, one entry point in the group ``servicegroup.drivers`` and one contract class
(``servicegroup.testing``).
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import entry_points
from typing import Any, ClassVar, Self, get_type_hints

import msgspec

from servicegroup.decoding import converted
from servicegroup.errors import ConfigError
from servicegroup.model import Member, Presence

ENTRY_POINTS = "servicegroup.drivers"

Watcher = Callable[[Collection[Member] | None], None]
"""Called with the members that changed, or with None: list again (every notification is a hint)."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of backend can do, as data.

    ``separate_signal``: presence is a signal beside the record; without it the driver is never
    asked. ``pushes``: ``watch`` calls back when a member changes; else changes are found by
    asking. ``recorded``: presence is read with the record, and the driver is never asked.
    """

    separate_signal: bool = True
    pushes: bool = False
    recorded: bool = False

    @property
    def is_asked(self) -> bool:
        """Whether there is a backend to ask, to heartbeat to and to free."""
        return self.separate_signal and not self.recorded


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a driver's own section; a driver extends it with its fields.

    A field says of itself, in its ``Meta``, what it is for (``description``), and in ``extra``
    whether it is a ``secret`` or ``local`` to this host; neither of these is handed to agents.
    """


def option_metas(options: type[Options]) -> dict[str, msgspec.Meta]:
    """Return what each option says of itself: its help, and whether it is a secret."""
    hints = get_type_hints(options, include_extras=True)
    return {
        name: next(
            (one for one in getattr(hint, "__metadata__", ()) if isinstance(one, msgspec.Meta)),
            msgspec.Meta(),
        )
        for name, hint in hints.items()
        if name in options.__struct_fields__
    }


class GroupPresence(msgspec.Struct, frozen=True):
    """A backend's answer for a whole group: who is present, by host, and what is said of others."""

    present: dict[str, Presence]
    others: Presence


_Options = Options  # within Driver the name is the class's own


class Driver(abc.ABC):
    """A handle on one liveness backend, safe to share between threads.

    Construction needs no backend and opens no socket: the first question does (drivers
    are built before the fork). A handle noticed to be in a forked child connects anew (ZK-14).
    Every call is bounded in time.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities] = Capabilities()
    Options: ClassVar[type[Options]] = Options

    def __init__(self, options: _Options) -> None:
        """Keep the options; connect later."""
        self.options = options

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build the driver from plain values; raises ConfigError naming the option at fault."""
        try:
            return cls(converted(dict(options), cls.Options, strict=False))
        except msgspec.ValidationError as error:
            raise ConfigError(f"Section [{cls.name}] of the configuration: {error}.") from error

    @abc.abstractmethod
    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        """Make or keep this incarnation of the member present for ``ttl`` seconds more.

        The first heartbeat joins and every heartbeat can join again (ZK-2). An older incarnation
        neither evicts nor hides a newer one. Raises DriverUnavailable.
        """

    @abc.abstractmethod
    def leave(self, member: Member, incarnation: int | None = None) -> None:
        """Free the backend's record of this incarnation, or of all of them for None.

        Nothing to free is success. Raises DriverUnavailable.
        """

    @abc.abstractmethod
    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Answer for every member asked, in at most one round trip per group or server.

        Never raises: what cannot be told is UNKNOWN, with the cause in ``detail``.
        """

    def prove(self, member: Member) -> None:  # noqa: B027 - many backends need no proof
        """Write a new record where this member's would be, read it back, and remove it (F-1).

        It is made as a heartbeat that joins makes one, so where it can be, members can join; nobody
        is present by it. Nothing is to be done, and that is the default, where ``presence`` calls
        nobody absent unless it could write, or nobody can be missing for want of writes. Raises
        DriverUnavailable, with the backend's words.
        """

    def list_group(self, group: str) -> GroupPresence | None:
        """Answer for a whole group in one question, whoever is in it; never raises.

        None where the backend can only be asked about members whose names are known.
        """
        return None

    def server_of(self, member: Member) -> str:
        """Return which of several independent servers holds a member; asks nothing.

        One name for all where the backend is one. A server that is away keeps only its own members
        waiting (F-60).
        """
        return ""

    @abc.abstractmethod
    def watch(self, callback: Watcher) -> None:
        """Call back when members may have changed; does nothing where the backend cannot push."""

    @abc.abstractmethod
    def detection_time(self, ttl: float) -> float:
        """Return the most seconds from a member's last sign of life to the answer ABSENT.

        It is computed from the timeout in effect, not from the one asked for (ZK-6).
        """

    @abc.abstractmethod
    def warnings(self) -> list[str]:
        """Return what an operator should change about the backend, a sentence each; often none.

        Asks the backend, and may write to it what is no member. Raises DriverUnavailable, also
        where it answers and cannot be used, for it takes no writes or is another program (F-17).
        """

    def shared_options(self) -> dict[str, Any]:
        """Return the options an agent needs to join the same backend.

        Options that are marked in their ``Meta`` as ``secret``, or as ``local`` to this host (the
        path of a file), stay here.
        """
        kept = msgspec.structs.asdict(self.options)
        for name, meta in option_metas(type(self.options)).items():
            if meta.extra and (meta.extra.get("secret") or meta.extra.get("local")):
                del kept[name]
        return kept

    @abc.abstractmethod
    def close(self) -> None:
        """Release connections; memberships of this handle may end with it. Idempotent."""


def driver_names() -> list[str]:
    """Return the names of all installed drivers, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINTS)})


def driver_class(name: str) -> type[Driver]:
    """Return the class of an installed driver.

    Raises ConfigError for a name nobody registered, and for one whose client library is missing.
    """
    points = entry_points(group=ENTRY_POINTS, name=name)
    if not points:
        known = ", ".join(driver_names())
        raise ConfigError(f"There is no driver named {name!r}; choose one of: {known}.")
    try:
        loaded: type[Driver] = next(iter(points)).load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"Driver {name!r} cannot be loaded ({error}); pip install 'servicegroup[{name}]'."
        ) from error
    return loaded


def load(name: str, options: Mapping[str, Any] | None = None) -> Driver:
    """Return the driver of that name with the options of its own section.

    Raises ConfigError for an unknown name, a missing client library and a wrong option.
    """
    return driver_class(name).from_options(options or {})
