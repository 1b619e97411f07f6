"""TLS to a backend: the options that drivers share, their check, and the context they make."""

from __future__ import annotations

import ssl
from typing import Annotated

from msgspec import Meta

from servicegroup.driver import Options
from servicegroup.errors import ConfigError

FILES = ("ca", "certfile", "keyfile")
TLS_REMEDY = "TLS; set tls = true, or remove it"


class TlsOptions(Options, frozen=True, kw_only=True):
    """The files of this host that TLS to a backend needs; they are not handed to agents."""

    # fmt: off
    ca: Annotated[str, Meta(extra={"local": True}, description=(
        "PEM file of the authorities that may have signed the servers' certificates; empty for"
        " those this host trusts. The name in a certificate must be the one that is connected to."
    ))] = ""
    certfile: Annotated[str, Meta(extra={"local": True}, description=(
        "PEM file of the certificate to show to servers that ask for one; empty for none."
    ))] = ""
    keyfile: Annotated[str, Meta(extra={"local": True}, description=(
        "PEM file of the key of certfile, not encrypted."
    ))] = ""
    # fmt: on

    def check_files(self, section: str, *, tls: bool, remedy: str) -> None:
        """Raise ConfigError for files without ``tls``, with ``remedy``, and for half a pair."""
        require_both(section, self, "certfile", "keyfile")
        given = [name for name in FILES if getattr(self, name)]
        if given and not tls:
            raise ConfigError(f"[{section}] {given[0]} is for {remedy}.")

    def context(self, section: str) -> ssl.SSLContext:
        """Return the context of these files. Raises ConfigError where one cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.certfile:
                context.load_cert_chain(self.certfile, self.keyfile, password="")
        except OSError as error:
            files = ", ".join(f"{n} = {getattr(self, n)}" for n in FILES if getattr(self, n))
            raise ConfigError(f"[{section}] {files} cannot be used: {error}.") from error
        return context


def require_both(section: str, options: Options, one: str, other: str) -> None:
    """Raise ConfigError where only one of two options is set that need each other."""
    if bool(getattr(options, one)) != bool(getattr(options, other)):
        raise ConfigError(f"[{section}] {one} and {other} belong together; set both or none.")
