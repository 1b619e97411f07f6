"""The servers that a PostgreSQL URL names, and a connection to the one that takes writes.

A URL may name several hosts, and a name may have several addresses. One of them takes writes, which
changes when a standby is promoted, and any of them may be frozen or cut off. So what worked last is
tried first; the others follow a moment later, while it is still waited for, as in RFC 8305.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from psycopg import Error, OperationalError

from servicegroup.store.addresses import Address
from servicegroup.store.patience import Inquiry, PatientConnection

STAGGER = 0.25
"""Seconds until the next server is tried beside those before it."""

AGAIN = 0.5
"""Seconds after which one that refused is tried again, while another one is waited for."""

BESIDE = 1.0
"""Seconds after which one that is silent is tried once more: its address may have moved."""

CONNECT_TIMEOUT = 5.0
"""Seconds within which one of them has to let us in."""

INQUIRY_TIMEOUT = 0.5
"""Seconds for that when somebody waits for another connection's answer."""


class Servers:
    """The servers of one URL; safe to share between threads."""

    def __init__(self, hosts: Sequence[Address]) -> None:
        """Know these hosts by name; none where libpq finds the server by itself."""
        self._hosts = tuple(hosts)
        self._latest: Address | None = None
        self._inquiry: Inquiry | None = None

    def connect(self, given: dict[str, Any], within: float = CONNECT_TIMEOUT) -> PatientConnection:
        """Return a connection, opened within so many seconds.

        ``given`` are the parameters beside host and port. Where several hosts are named, only one
        that takes writes is taken, unless ``target_session_attrs`` says otherwise. Raises
        psycopg.Error.
        """
        if self._hosts:
            given = {name: value for name, value in given.items() if name not in ("host", "port")}
        if len(self._hosts) > 1:
            given = {"target_session_attrs": "read-write", **given}
        if self._hosts:
            session, self._latest = _Race(self._candidates(), given, within).run()
        else:
            session = _open(Address("", ""), given, within)
        if self._inquiry is None:
            self._inquiry = Inquiry(lambda: self.connect(given, INQUIRY_TIMEOUT))
        session.inquiry = self._inquiry
        return session

    def _candidates(self) -> list[Address]:
        """Return every address, those of the first host first, and first what worked last."""
        found = [address for host in self._hosts for address in _resolved(host)]
        found.sort(key=lambda address: address != self._latest)
        return found


def _resolved(host: Address) -> list[Address]:
    """Return the addresses of a host, or the host itself where that is libpq's to find out."""
    if not host.host or host.host.startswith(("/", "@")):
        return [host]
    try:
        found = socket.getaddrinfo(host.host, None, type=socket.SOCK_STREAM)
    except OSError:
        return [host]  # libpq says what is wrong with the name
    return [host._replace(address=one) for one in dict.fromkeys(str(f[4][0]) for f in found)]


def _open(address: Address, given: dict[str, Any], within: float) -> PatientConnection:
    # psycopg takes whole seconds, two at the least, as libpq does; what is left is the race's.
    timeout = {"connect_timeout": given.get("connect_timeout", max(2, round(within)))}
    return PatientConnection.connect(**{**given, **address.parameters, **timeout})


class _Race:
    """One attempt to connect at each address, a moment apart; the first that is let in is taken."""

    def __init__(self, runners: Sequence[Address], given: dict[str, Any], within: float) -> None:
        self._waiting = list(runners)
        self._given = given
        self._within = within
        self._running: list[Address] = []
        self._again: dict[Address, float] = {}
        self._failures: dict[Address, str] = {}
        self._ended: queue.SimpleQueue[tuple[Address, PatientConnection | Exception]]
        self._ended = queue.SimpleQueue()
        self._decided = threading.Lock()

    def run(self) -> tuple[PatientConnection, Address]:
        """Return the connection and its address. Raises OperationalError."""
        deadline = time.monotonic() + self._within
        next_start = 0.0
        while True:
            now = time.monotonic()
            if self._waiting and (not self._running or now >= next_start):
                self._start(self._waiting.pop(0))
                next_start = now + STAGGER
            for address in [one for one, moment in self._again.items() if moment <= now]:
                self._start(address)
            if not self._running or (now >= deadline and self._decide()):
                raise OperationalError(self._what_was_said())
            moments = [deadline, *self._again.values(), *([next_start] if self._waiting else ())]
            try:
                address, outcome = self._ended.get(timeout=max(0.001, min(moments) - now))
            except queue.Empty:
                continue
            self._running.remove(address)
            if isinstance(outcome, PatientConnection):
                return outcome, address
            if not isinstance(outcome, Error):
                raise outcome
            self._failures[address] = str(outcome).strip().splitlines()[0]
            self._again[address] = time.monotonic() + AGAIN

    def _start(self, address: Address) -> None:
        self._running.append(address)
        self._again[address] = time.monotonic() + BESIDE
        attempt = threading.Thread(target=self._attempt, args=(address,), daemon=True)
        attempt.name = "servicegroup-connect"
        attempt.start()

    def _attempt(self, address: Address) -> None:
        try:
            session = _open(address, self._given, self._within)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised by who waits
            self._ended.put((address, error))
            return
        if self._decide():
            self._ended.put((address, session))
        else:
            session.close()

    def _decide(self) -> bool:
        """Tell whether nothing had been decided before: one connection is taken, or none."""
        return self._decided.acquire(blocking=False)

    def _what_was_said(self) -> str:
        silent = dict.fromkeys(self._running, f"no answer for {self._within:g} s")
        return "; ".join(f"{who}: {said}" for who, said in {**self._failures, **silent}.items())
