"""A host of its own behind a cable that can be cut: a network namespace on a bridge.

The bridge keeps its carrier, as a switch does, so nothing tells either end that the cable is cut.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from types import TracebackType
from typing import Self

HERE, THERE = "198.51.100.1", "198.51.100.2"
"""The addresses of this host and of the one behind the cable, of a range that is nobody's."""

_NAMESPACE = "servicegroup"
_BRIDGE, _CABLE, _FAR = "sgbridge", "sgcable", "eth0"
_OTHERS = ("sgother", "sgother-end")
"""A cable that nobody cuts, for the carrier."""


class Cable:
    """As a context manager: laid on the way in, and taken away on the way out."""

    enter = ("ip", "netns", "exec", _NAMESPACE)
    """Words before a command that is to run on the other host."""

    @classmethod
    def possible(cls) -> bool:
        """Tell whether this user may lay one."""
        return os.geteuid() == 0 and shutil.which("ip") is not None

    def __enter__(self) -> Self:
        """Lay it."""
        try:
            _ip("netns", "add", _NAMESPACE)
            _ip("link", "add", _BRIDGE, "type", "bridge")
            _ip("link", "add", _OTHERS[0], "type", "veth", "peer", "name", _OTHERS[1])
            _ip("link", "add", _CABLE, "type", "veth", "peer", "name", _FAR, "netns", _NAMESPACE)
            for end in (_OTHERS[0], _CABLE):
                _ip("link", "set", end, "master", _BRIDGE)
            for end in (*_OTHERS, _CABLE):
                _ip("link", "set", end, "up")
            _ip("address", "add", f"{HERE}/24", "dev", _BRIDGE)
            _ip("link", "set", _BRIDGE, "up")
            there = ("-netns", _NAMESPACE)
            _ip(*there, "address", "add", f"{THERE}/24", "dev", _FAR)
            for end in ("lo", _FAR):
                _ip(*there, "link", "set", end, "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Take it away."""
        for link in (_CABLE, _OTHERS[0], _BRIDGE):
            _ip("link", "delete", link, check=False)
        _ip("netns", "delete", _NAMESPACE, check=False)

    def cut(self) -> None:
        """Let nothing through any more, in either direction."""
        _ip("link", "set", _CABLE, "nomaster")

    def mend(self) -> None:
        """Let everything through again."""
        _ip("link", "set", _CABLE, "master", _BRIDGE)


def _ip(*words: str, check: bool = True) -> int:
    """Run ``ip`` and return its exit code. Raises CalledProcessError if it fails and may not."""
    return subprocess.run(["ip", *words], check=check, capture_output=True, timeout=30).returncode
