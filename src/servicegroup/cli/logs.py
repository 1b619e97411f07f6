"""Logs on standard error in which a message is one line, and none can steer a terminal.

What is logged quotes names and errors of others, who must not be able to write lines of their own.
"""

from __future__ import annotations

import logging
from typing import Any

from servicegroup.cli.output import printable


class Lines(logging.Formatter):
    """Writes a message as one line; only the lines of a traceback follow it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line, with what is not printable written out."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback, each of its lines printable."""
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


def on_stderr(form: str) -> logging.Handler:
    """Return a handler that writes records in this form."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines(form))
    return handler
