"""Somebody who follows the stream of server-sent events, on a connection of their own."""

from __future__ import annotations

from http.client import HTTPConnection
from typing import Any, Self

import msgspec

from servicegroup.events import Cursor
from support.control_plane import ControlPlane


class Follower:
    """An open stream; ``query`` and ``headers`` are the request's. A context manager."""

    def __init__(self, plane: ControlPlane, query: str = "", **headers: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", plane.port, timeout=30)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", f"/v1/events/stream{query}", headers=names)
        self.response = self._connection.getresponse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Go away without a word."""
        self.response.close()
        self._connection.close()

    def frame(self) -> list[str]:
        """Return the lines of the next frame, whatever it says; none at the end of the stream."""
        lines: list[str] = []
        while line := self.response.readline().decode():
            if line == "\n":
                return lines
            lines.append(line.removesuffix("\n"))
        assert not lines, "the stream ends within a frame"
        return []

    def event(self) -> dict[str, Any]:
        """Return the next event, which must have its id on the frame too."""
        while True:
            frame = self.frame()
            assert frame, "the stream has ended"
            fields = dict(line.split(": ", 1) for line in frame)
            if "data" in fields:
                event: dict[str, Any] = msgspec.json.decode(fields["data"])
                assert list(fields) == ["id", "data"]
                assert Cursor.parse(fields["id"]).id == event["id"]
                return event
