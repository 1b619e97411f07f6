"""A witness: nobody was shown down while something was done to the fleet."""

from __future__ import annotations

import threading
from typing import Any, Self

import urllib3

from support.control_plane import ControlPlane


class Watcher:
    """Asks for the services of a binary again and again; remembers when not all were up.

    Hosts in ``dead`` may be down; add to it before they are. ``pause`` is the seconds between two
    questions.
    """

    def __init__(self, plane: ControlPlane, binary: str, count: int, pause: float = 0.05) -> None:
        self._plane = plane
        self._binary = binary
        self._count = count
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.dead: set[str] = set()
        self.answers = 0
        self.flips: list[tuple[int, dict[str, Any]]] = []

    def _watch(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                found = self._plane.services(f"?binary={self._binary}")
            except (urllib3.exceptions.HTTPError, AssertionError):
                continue  # the control plane restarts, as it must to read its configuration
            self.answers += 1
            states = {host: s["verdict"] for (host, _), s in found.items() if host not in self.dead}
            down = {host: verdict for host, verdict in states.items() if verdict["state"] != "up"}
            if down or len(found) != self._count:
                self.flips.append((len(found), down))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
