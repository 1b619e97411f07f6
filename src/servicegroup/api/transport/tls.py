"""TLS of the API: its certificate, and the authorities of its clients, renewed while it runs.

Whoever renews a certificate writes the files, and that is all: new connections get the new one,
those there are go on.
"""

from __future__ import annotations

import logging
import ssl
import time
from pathlib import Path

from cryptography import x509

from servicegroup.agent.credentials import stamps
from servicegroup.config import ApiTls
from servicegroup.errors import ConfigError

_DAY = 86_400.0
_NEAR = 14 * _DAY
_LOG = logging.getLogger(__name__)


class ServerTls:
    """The certificate in use; ``context`` is what to listen with."""

    def __init__(self, files: ApiTls) -> None:
        """Read the files. Raises ConfigError, in a sentence, for what cannot be used."""
        self._files = files
        self._seen = stamps(files.certfile, files.keyfile, files.client_ca)
        self._current, self._expiry = _loaded(files)
        self._warned_at = 0.0
        self.context = self._current
        self.context.sni_callback = self._choose

    async def renew(self) -> None:
        """Use the files as they are now, if they changed; if they cannot be used, the former."""
        self._warn(time.time())
        files = self._files
        found = stamps(files.certfile, files.keyfile, files.client_ca)
        if found == self._seen:
            return
        self._seen = found
        try:
            self._current, self._expiry = _loaded(files)
        except ConfigError as error:
            _LOG.warning("The certificate is not renewed, the former one is kept: %s", error)
        else:
            _LOG.info("New connections get the certificate now in %s.", files.certfile)

    def _warn(self, now: float) -> None:
        """Say, once a day, that the end is near."""
        if self._expiry - now < _NEAR and now > self._warned_at + _DAY:
            self._warned_at = now
            days = max(0.0, self._expiry - now) / _DAY
            _LOG.warning(
                "[api] certfile = %s expires in %.1f days; clients refuse it then.",
                self._files.certfile,
                days,
            )

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        """Give each handshake what is current; without a server name, too, this is called."""
        connection.context = self._current


def _loaded(files: ApiTls) -> tuple[ssl.SSLContext, float]:
    """Return the context of these files, and when its certificate expires, as a Unix time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    key = files.keyfile or files.certfile
    for name, file in (("certfile", files.certfile), ("keyfile", key)):
        _check_readable(name, file)
    try:
        # A key that is encrypted would ask a terminal that is not there.
        context.load_cert_chain(files.certfile, key, password="")
        expiry = x509.load_pem_x509_certificate(Path(files.certfile).read_bytes())
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or str(error)
        raise ConfigError(
            f"[api] certfile = {files.certfile} and keyfile = {key} are not a PEM certificate and"
            f" its unencrypted key ({why.lower().replace('_', ' ')}); give two that belong"
            " together."
        ) from error
    ends = expiry.not_valid_after_utc
    if ends.timestamp() < time.time():
        raise ConfigError(
            f"[api] certfile = {files.certfile} expired on {ends:%Y-%m-%d %H:%M} UTC; renew it."
        )
    if files.client_ca:
        _ask_for_certificates(context, files.client_ca)
    return context, ends.timestamp()


def _ask_for_certificates(context: ssl.SSLContext, authorities: str) -> None:
    """Verify the certificate of a client that has one; who has none is the application's to judge.

    Nothing is resumed: a session would outlive the authority that vouched for it.
    """
    _check_readable("client_ca", authorities)
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise ConfigError(
            f"[api] client_ca = {authorities} holds no PEM certificates; name the authorities"
            " that sign the certificates of agents."
        ) from error
    context.verify_mode = ssl.CERT_OPTIONAL
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _check_readable(option: str, file: str) -> None:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(
            f"[api] {option} = {file} cannot be read ({error.strerror}); check its path and who"
            " may read it."
        ) from error
