"""One tree of errors; each class exists because someone catches it.

::

    ServiceGroupError
    ├── InvalidInput                 the caller's value is wrong (HTTP 400, exit code 2)
    │   └── ConfigError              … in the configuration: the process does not start
    ├── NotFound                     no such service (HTTP 404)
    ├── Conflict                     the record as it stands forbids it (HTTP 409)
    ├── Unauthorized                 nobody knows this caller (HTTP 401)
    ├── Forbidden                    this caller may not (HTTP 403)
    └── Unavailable                  try again later (HTTP 503 with Retry-After)
        ├── StoreUnavailable         the database cannot answer or commit
        │   └── StandbyMissing       … since no synchronous standby confirms: said on /readyz
        ├── DriverUnavailable        the liveness backend cannot be reached
        └── ControlPlaneUnavailable  what an agent sees of a control plane it cannot reach

Every message is one sentence that names the thing, the value and the remedy.
"""

from __future__ import annotations


class ServiceGroupError(Exception):
    """Anything servicegroup raises on purpose; ``str(error)`` is a sentence for people."""


class InvalidInput(ServiceGroupError):
    """The caller gave a value that cannot be accepted."""


class ConfigError(InvalidInput):
    """The configuration contradicts itself or names something that does not exist."""


class NotFound(ServiceGroupError):
    """No service matches what was asked for."""


class Conflict(ServiceGroupError):
    """The record as it stands forbids the change."""


class Unauthorized(ServiceGroupError):
    """Nobody knows the caller; ``uri`` is where Keystone gives out tokens, if it does."""

    def __init__(self, uri: str = "") -> None:
        """Say where there are tokens."""
        super().__init__("The request you have made requires authentication.")
        self.uri = uri


class Forbidden(ServiceGroupError):
    """The caller is known and may not do this."""


class Unavailable(ServiceGroupError):
    """A part that is needed does not answer now; the same request may succeed later."""


class StoreUnavailable(Unavailable):
    """The database cannot be reached, or refuses to answer or to commit."""


class StandbyMissing(StoreUnavailable):
    """The database commits nothing, for want of a synchronous standby that confirms it (F-31)."""


class DriverUnavailable(Unavailable):
    """The liveness backend cannot be reached or does not answer in time."""


class ControlPlaneUnavailable(Unavailable):
    """The control plane cannot be reached or does not answer in time."""
