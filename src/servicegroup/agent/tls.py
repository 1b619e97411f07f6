"""TLS to a control plane: whom to trust, what to show, and what went wrong in words.

Imported for ``https://`` only: it costs a guest several megabytes.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

from servicegroup.agent.credentials import stamps
from servicegroup.errors import InvalidInput

if TYPE_CHECKING:
    from servicegroup.agent.credentials import TlsFiles

_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})
# What a client reads where the other end speaks plain HTTP.
_PLAIN = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})


_REFUSED = (
    "it closed the connection; if it does not accept the certificate, check that SERVICEGROUP_CERT"
    " is of an authority that it knows, and not expired"
)


class Tls:
    """How to speak TLS by these files, which may be renewed while the process runs."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. Raises InvalidInput for what cannot be used."""
        self._files = files
        self._read = stamps(files.ca, files.cert, files.key)
        self._context = _context(files)

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection: by the files as they are, if these can be used.

        Renewed files that do not fit one another are half of a renewal: the former go on.
        """
        files = self._files
        if (found := stamps(files.ca, files.cert, files.key)) != self._read:
            with contextlib.suppress(InvalidInput):
                self._context, self._read = _context(files), found
        return self._context

    def cause(self, error: Exception) -> str | None:
        """Return what went wrong, and what to do about it; None for what is not of TLS."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return _distrust(error)
        if isinstance(error, (ssl.SSLEOFError, ConnectionResetError)) or _is_alert(error):
            # Servers close rather than say that they do not accept a certificate.
            return _REFUSED if self._files.cert else None
        if not isinstance(error, ssl.SSLError):
            return None
        if error.reason in _PLAIN:
            return "it does not speak TLS; is it http://?"
        return f"TLS failed: {_said(error)}"


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that proves the other end's name. Raises InvalidInput."""
    if files.key and not files.cert:
        raise InvalidInput("A TLS key goes with its certificate; set --cert or SERVICEGROUP_CERT.")
    try:
        context = ssl.create_default_context(cafile=files.ca or None)
    except OSError as error:  # ssl's errors are of that class
        raise InvalidInput(
            f"TLS authorities {files.ca} cannot be used ({_said(error)});"
            " set --ca or SERVICEGROUP_CA to a file of PEM certificates."
        ) from error
    try:
        if files.cert:
            # A key that is encrypted would ask a terminal that is not there.
            context.load_cert_chain(files.cert, files.key or None, password="")
    except OSError as error:
        raise InvalidInput(
            f"TLS certificate {files.cert} with key {files.key or files.cert} cannot be used"
            f" ({_said(error)}); set SERVICEGROUP_CERT and SERVICEGROUP_KEY to PEM files that"
            " belong together."
        ) from error
    return context


def _is_alert(error: Exception) -> bool:
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    code, said = error.verify_code, error.verify_message.rstrip(".")
    if code == _EXPIRED:
        return "its certificate has expired; renew it there"
    if code == _NOT_YET_VALID:
        return "its certificate is not valid yet; check the clocks"
    if code in _UNKNOWN_AUTHORITY:
        return (
            f"its certificate is of an authority that is not known here: {said};"
            " set SERVICEGROUP_CA to the file of the right one"
        )
    if code in _OTHER_NAME:
        return f"{said}; use a name in the URL that the certificate has"
    return f"its certificate is refused: {said}"


def _said(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if reason else error.strerror or str(error)
