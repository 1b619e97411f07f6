"""What a caller shows a control plane: a token, and the files of its TLS.

A token is a text, or what a file holds now, so that it can be renewed.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from servicegroup.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "X-Auth-Token"


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files for ``https://``; empty for the authorities this host trusts, and no certificate.

    ``key`` may be empty where the file ``cert`` has it too.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""


class Token:
    """A token by its text, or by the file it is in; none for an empty text."""

    def __init__(self, given: str | Path) -> None:
        """Read the file, if it is one. Raises InvalidInput."""
        self._file: Path | None = None
        self._seen: list[tuple[int, int]] | None = None
        self._headers: dict[str, str] = {}
        if isinstance(given, str):
            self._headers = _headers(given)
            return
        self._file = given
        try:
            self._read(given)
        except (OSError, UnicodeError) as error:
            cause = getattr(error, "strerror", None) or "it is no text"
            raise InvalidInput(
                f"The token file {given} cannot be read ({cause}); set SERVICEGROUP_TOKEN_FILE."
            ) from error

    def headers(self) -> dict[str, str]:
        """Return what to send; a file that cannot be read now leaves it as it was."""
        if self._file is not None:
            # It may just be being replaced; the next request looks again.
            with contextlib.suppress(OSError, UnicodeError, InvalidInput):
                self._read(self._file)
        return self._headers

    def _read(self, file: Path) -> None:
        if (found := stamps(file)) != self._seen:
            self._headers = _headers(file.read_text().strip())
            self._seen = found


def stamps(*files: str | Path) -> list[tuple[int, int]]:
    """Return what changes when one of the files that are named does; empty while one is away."""
    try:
        found = [os.stat(file) for file in files if file]  # noqa: PTH116 - pathlib is not light
    except OSError:
        return []
    return [(one.st_mtime_ns, one.st_ino) for one in found]


def _headers(text: str) -> dict[str, str]:
    if not (text.isascii() and text.isprintable()):
        raise InvalidInput("The token holds a character that an HTTP header cannot carry.")
    return {HEADER: text} if text else {}
