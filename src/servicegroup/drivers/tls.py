"""TLS to a backend, for drivers whose client takes a context."""

from __future__ import annotations

import ssl
from typing import Any

from servicegroup.errors import ConfigError

FILES = ("ca", "certfile", "keyfile")
"""The options of a driver's section that are files of this host, and so are not shared."""


def context_of(section: str, options: Any) -> ssl.SSLContext:
    """Return the context of the files in ``options``. Raises ConfigError where one is wrong."""
    try:
        context = ssl.create_default_context(cafile=options.ca or None)
        if options.certfile:
            context.load_cert_chain(options.certfile, options.keyfile, password="")
    except OSError as error:
        given = [key for key in FILES if getattr(options, key)]
        files = ", ".join(f"{key} = {getattr(options, key)}" for key in given)
        raise ConfigError(f"[{section}] {files} cannot be used: {error}.") from error
    return context
