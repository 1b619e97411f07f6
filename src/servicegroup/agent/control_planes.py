"""Several control planes as one: each request goes to the one that answered last, then the others.

Agents and the command line ask through this, so a control plane that hangs costs both of them one
wait, and not one wait a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from servicegroup.agent.connection import Connection, NotSent, Reply
from servicegroup.agent.credentials import TlsFiles, Token
from servicegroup.errors import ControlPlaneUnavailable, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


class ControlPlanes:
    """The control planes of one register. Safe to share between threads, and after a fork."""

    def __init__(self, urls: str, token: str | Path = "", files: TlsFiles | None = None) -> None:
        """Use a comma separated list of URLs; connect later. Raises InvalidInput."""
        self._planes = [Connection(url, files) for url in urls.split(",") if url.strip()]
        if not self._planes:
            raise InvalidInput(f"The URL {urls!r} names no control plane; write http://HOST:8774.")
        self._token = Token(token)
        self.unanswered = 0
        """Requests without an answer so far; each may have been, or may be, obeyed."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._planes)

    @property
    def urls(self) -> list[str]:
        """Their URLs, in the order in which the next request tries them."""
        return [plane.url for plane in self._planes]

    @property
    def connections(self) -> list[Connection]:
        """Each of them."""
        return self._planes

    def headers(self) -> dict[str, str]:
        """Return what shows who asks."""
        return self._token.headers()

    def request(
        self,
        method: str,
        path: str,
        content: object,
        timeout: float,
        read: Callable[[str, Reply], T],
        hearing: float = 0.0,
    ) -> T:
        """Return what ``read`` makes of the first answer, given its URL; each is asked once.

        ``content`` is sent as JSON, None as no body. Each control plane has ``timeout`` seconds,
        of which ``hearing`` are kept for the answer, or it is sent nothing. One that gives no
        answer, or for which ``read`` raises ControlPlaneUnavailable, is passed over; the last
        one's error is raised. Any other error of ``read`` is an answer.
        """
        body = None if content is None else msgspec.json.encode(content)
        headers = _HEADERS | self._token.headers()
        failure = ControlPlaneUnavailable("")
        planes = self._planes
        for plane in planes:
            try:
                reply = plane.request(method, path, body, headers, timeout, hearing)
                result = read(plane.url, reply)
            except ControlPlaneUnavailable as error:
                self.unanswered += not isinstance(error, NotSent)
                failure = error
                continue
            except Exception:
                self._prefer(plane)
                raise
            self._prefer(plane)
            return result
        raise failure

    def close(self) -> None:
        """Close the connections that are kept."""
        for plane in self._planes:
            plane.close()

    def _prefer(self, plane: Connection) -> None:
        """Ask this one first from now on; the list is replaced, as other threads may walk it."""
        if self._planes[0] is not plane:
            self._planes = [plane, *(other for other in self._planes if other is not plane)]
