"""Driver ``session`` in Nova: a register beside it is the backend, at ``[session] url``.

A process of Nova that joins is an agent of that register: it holds a session and reports, and so
has a record, events and a history there. Who is present is what the register says of it: its
verdict, whose crowds are held and whose outages accuse nobody already. Readers have it in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import msgspec

from servicegroup import driver
from servicegroup.agent.client import HttpClient
from servicegroup.agent.credentials import TlsFiles
from servicegroup.agent.join import Membership
from servicegroup.driver import Capabilities, Driver, GroupPresence, Watcher
from servicegroup.errors import (
    ConfigError,
    DriverUnavailable,
    InvalidInput,
    ServiceGroupError,
)
from servicegroup.model import Member, Presence
from servicegroup.nova.holding import Holding
from servicegroup.nova.register import Register
from servicegroup.nova.view import RegisterView
from servicegroup.nova.workers import WorkersLock
from servicegroup.per_process import PerProcess

_TOLD = 0.5
"""Seconds in which what the register has recorded is known here."""

_LOCK = WorkersLock()
"""Made before Nova forks its workers, since it reads nova.conf before that."""

_LOCAL = {"local": True}


class SessionOptions(driver.Options, frozen=True, kw_only=True):
    """What [session] of nova.conf takes."""

    url: Annotated[str, msgspec.Meta(description=(
        "The register's control planes, https://HOST:PORT each, with commas between them."
    ))] = ""  # fmt: skip
    token_file: Annotated[str, msgspec.Meta(extra=_LOCAL, description=(
        "The file with the token: a reporter's on computes, an admin's where Nova's API,"
        " schedulers and conductors run. Empty: none."
    ))] = ""  # fmt: skip
    ca: Annotated[str, msgspec.Meta(extra=_LOCAL, description=(
        "PEM file of the authorities to trust. Empty: those that this host trusts."
    ))] = ""  # fmt: skip
    cert: Annotated[str, msgspec.Meta(extra=_LOCAL, description=(
        "PEM file of the certificate that this host shows. Empty: none."
    ))] = ""  # fmt: skip
    key: Annotated[str, msgspec.Meta(extra=_LOCAL, description=(
        "PEM file of its key. Empty: it is in cert."
    ))] = ""  # fmt: skip

    def client(self) -> HttpClient:
        """Return a client of its own for whoever asks. Raises ConfigError."""
        token = Path(self.token_file) if self.token_file else ""
        try:
            return HttpClient(self.url, token, TlsFiles(self.ca, self.cert, self.key))
        except InvalidInput as error:
            raise ConfigError(f"[session] of nova.conf: {error}") from error


class SessionDriver(Driver):
    """Presence as a register beside Nova says it, by the sessions that Nova's processes hold."""

    name = "session"
    capabilities = Capabilities(pushes=True)
    Options = SessionOptions
    options: SessionOptions

    def __init__(self, options: SessionOptions) -> None:
        """Check the options; nothing is asked before a question. Raises ConfigError."""
        super().__init__(options)
        if not options.url:
            raise ConfigError(
                "servicegroup_driver = session needs a register: set [session] url in nova.conf to"
                " its control planes, say https://register1:8774,https://register2:8774."
            )
        options.client().close()  # it refuses what cannot be used
        self._register = PerProcess(lambda: Register(options.client()))
        self._view = PerProcess(lambda: RegisterView(Register(options.client())))
        self._holdings: PerProcess[dict[Member, Holding]] = PerProcess(dict)

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        """Have this process hold the member's session; from then on it keeps itself alive."""
        holdings = self._holdings.get()
        if member not in holdings:
            holdings[member] = Holding(member, _LOCK, self._join, self._is_down)

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        """End this process's session, or delete the member from the register.

        That is meant by None, and by the life that the register has a record of.
        """
        if incarnation is not None:
            if (holding := self._holdings.get().pop(member, None)) is not None:
                holding.end()
                return
            if incarnation not in self._view.get().presence(member).incarnations:
                return
        self._register.get().delete(member)

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Return the register's word on each, from memory."""
        view = self._view.get()
        return {member: view.presence(member) for member in members}

    def list_group(self, group: str) -> GroupPresence:
        """Return the register's word on a group, from memory."""
        return GroupPresence(*self._view.get().present(group))

    def watch(self, callback: Watcher) -> None:
        """Do nothing: in Nova nobody waits for a change."""

    def detection_time(self, ttl: float) -> float:
        """Return what the register says of the driver it obeys, by our ``ttl`` if it is away."""
        try:
            found = self._register.get().driver()
        except DriverUnavailable:
            return ttl + 1.0 + _TOLD  # its own formula for a process that hangs, the longest
        return (found.detection_seconds or found.silence_seconds) + _TOLD

    def warnings(self) -> list[str]:
        """Warn of a register that obeys another driver. Raises DriverUnavailable."""
        found = self._register.get().driver()
        if found.name == self.name:
            return []
        remedy = "set servicegroup_driver = session in its configuration"
        return [f"The register obeys {found.name}, so nobody holds a session: {remedy}"]

    def close(self) -> None:
        """End what this process holds and follows."""
        for holding in (self._holdings.pop() or {}).values():
            holding.end()
        if (view := self._view.pop()) is not None:
            view.close()
        if (register := self._register.pop()) is not None:
            register.close()

    def _join(self, member: Member) -> Membership:
        client = self.options.client()
        life = Membership(
            f"nova-{member.group}",
            client=client,
            host=member.host,
            group=member.group,
            version=_version(),
            closing=client.close,
        )
        life.start()
        return life

    def _is_down(self, uuid: str) -> bool:
        try:
            return self._register.get().state(uuid) == "down"
        except ServiceGroupError:  # a reporter's token does not read
            return False


def _version() -> int:
    """Return the service version of the Nova in this process, 0 where there is none."""
    return int(getattr(sys.modules.get("nova.objects.service"), "SERVICE_VERSION", 0))
