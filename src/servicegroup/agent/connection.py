"""Kept connections to one control plane; every request has an answer or an error within a time.

The standard library's client is used because it is what a guest can afford: half of the import
time and memory of urllib3, and nothing of what urllib3 adds is needed for one POST every ten
seconds. Stale connections are recognised before they are used, so no request is sent twice.
"""

from __future__ import annotations

import contextlib
import select
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from servicegroup.agent.credentials import TlsFiles
from servicegroup.errors import ControlPlaneUnavailable, InvalidInput
from servicegroup.per_process import PerProcess
from servicegroup.polling import poller

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPConnection
    from socket import socket

    from servicegroup.agent.dialing import Address
    from servicegroup.agent.tls import Tls

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes an answer may have."""


_CUT_SHORT = "it closed before the end of its answer"


class Reply(msgspec.Struct, frozen=True):
    """What came back: the status, the seconds of Retry-After (0 for none), and the body."""

    status: int
    retry_after: float
    body: bytes


class NotSent(ControlPlaneUnavailable):
    """The request was not sent, so nobody obeys it."""


class Connection:
    """A control plane at a URL. Safe to share between threads, and after a fork (ZK-14)."""

    def __init__(self, url: str, files: TlsFiles | None = None) -> None:
        """Check the URL, and the files if it needs them; connect later. Raises InvalidInput."""
        self.url = url.strip().rstrip("/")
        try:
            parts = urlsplit(self.url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            self._host = ""
        if "@" in self.url:
            raise InvalidInput("A control plane's URL carries no user or password; set the token.")
        if not self._host or parts.scheme not in ("http", "https"):
            raise InvalidInput(
                f"Control plane URL {url!r} is not http://HOST:PORT or https://HOST:PORT."
            )
        if parts.query or parts.fragment or not self.url.isprintable() or " " in self.url:
            raise InvalidInput(f"Control plane URL {url!r} must end with the port or a path.")
        self.path = parts.path
        self.authority = parts.netloc
        self._tls: Tls | None = None
        if parts.scheme == "https":
            from servicegroup.agent.tls import Tls

            self._tls = Tls(files or TlsFiles())
        self._answered: Address | None = None
        self._idle: PerProcess[list[HTTPConnection]] = PerProcess(list)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: float,
        hearing: float = 0.0,
    ) -> Reply:
        """Send one request, once, and return the answer, whatever its status.

        Looking the name up, connecting and the answer share ``timeout`` seconds; it is not sent
        with less than ``hearing`` of them left to hear the answer (F-4). Raises
        ControlPlaneUnavailable when there is no answer, NotSent for what was not even sent.
        """
        from http.client import HTTPException

        deadline = time.monotonic() + timeout
        connection = self._take()
        if connection.sock is None:
            try:
                connection.sock = self.dial(deadline - hearing)
            except (OSError, UnicodeError) as error:
                raise NotSent(str(self.no_answer(error))) from error
        try:
            reply = self._exchange(connection, method, path, body, headers, deadline)
        except (OSError, HTTPException, UnicodeError) as error:
            connection.close()
            raise self.no_answer(error) from error
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None:
            self._idle.get().append(connection)
        return reply

    def no_answer(self, error: Exception) -> ControlPlaneUnavailable:
        """Return what it means that this went wrong, in a sentence."""
        return ControlPlaneUnavailable(f"{self.url} gave no answer ({self._cause(error)}).")

    def close(self) -> None:
        """Close what is idle; the next request connects anew."""
        idle = self._idle.get()
        with contextlib.suppress(IndexError):
            while True:
                idle.pop().close()

    def _exchange(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
    ) -> Reply:
        connection.sock.settimeout(max(0.001, deadline - time.monotonic()))
        connection.request(method, self.path + path, body, dict(headers))
        response = connection.getresponse()
        content = response.read(MAX_ANSWER)
        if response.length and len(content) < MAX_ANSWER:  # to http.client that is no error
            raise OSError(_CUT_SHORT)
        if not response.isclosed():
            raise OSError(f"more than {MAX_ANSWER} bytes")
        return Reply(response.status, _seconds(response.getheader("Retry-After")), content)

    def dial(self, deadline: float) -> socket:
        """Return a socket to whichever address answers, what answered last being tried first.

        Raises OSError, TimeoutError at the ``deadline``, in seconds of ``time.monotonic``.
        """
        from servicegroup.agent.dialing import connect, look_up, secure

        addresses = look_up(self._host, self._port or (443 if self._tls else 80), deadline)
        if (last := self._answered) in addresses:
            addresses.sort(key=lambda address: address != last)
        sock, self._answered = connect(addresses, deadline)
        return secure(sock, self._tls.context(), self._host, deadline) if self._tls else sock

    def _take(self) -> HTTPConnection:
        """Return an idle connection that the other side has not closed, or a new one."""
        idle = self._idle.get()
        with contextlib.suppress(IndexError):
            while True:
                connection = idle.pop()
                if not _has_input(connection):
                    return connection
                connection.close()
        return self._new()

    def _new(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        if self._tls is None:
            return HTTPConnection(self._host, self._port)
        return HTTPSConnection(self._host, self._port, context=self._tls.context())

    def _cause(self, error: Exception) -> str:
        from http.client import BadStatusLine, IncompleteRead

        if isinstance(error, IncompleteRead):  # in a body of chunks (F-15)
            return _CUT_SHORT
        if isinstance(error, TimeoutError):
            return "timed out"
        if self._tls is not None:
            said = self._tls.cause(error)
            if said is not None:
                return said
        elif isinstance(error, BadStatusLine):  # it closed the connection, or sent an alert
            return "it closed, or does not speak HTTP; is it https://?"
        return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _has_input(connection: HTTPConnection) -> bool:
    """Whether an idle connection has something to read, which is the end of it."""
    poll = poller()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _seconds(text: str | None) -> float:
    """Return Retry-After in its form of seconds; a date, garbage and nothing are 0."""
    return float(text) if text and text.isascii() and text.isdigit() else 0.0
