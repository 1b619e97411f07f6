"""Certificates of the tests' own: an authority, and what it signs for servers and hosts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography.hazmat.primitives import serialization as forms

from servers.process import LOOPBACK


class Pair(NamedTuple):
    """A certificate and its key, as PEM files; ``both`` has the one after the other."""

    cert: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates, and keeps them in a directory that servers may read."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self._directory = directory
        self.file = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(self.file)
        self.file.chmod(0o644)

    def sign(
        self, *names: str, file: str = "", common_name: str | None = None, days: float = 2
    ) -> Pair:
        """Return a pair for these names, or the loopback address; it ends in so many days."""
        ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        begins = ends - dt.timedelta(days=7)
        made = self._authority.issue_cert(
            *(() if common_name else names or (LOOPBACK, "localhost")),
            common_name=common_name,
            not_before=begins,
            not_after=ends,
        )
        stem = file or names[0] if file or names else "server"
        pair = Pair(*(self._directory / f"{stem}.{kind}" for kind in ("pem", "key", "both.pem")))
        pair.cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        pair.key.write_bytes(_pkcs8(made.private_key_pem.bytes()))
        pair.both.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
        for path in pair:
            path.chmod(0o644)  # a server may run as somebody else
        return pair


def _pkcs8(key: bytes) -> bytes:
    """Return a key in the one form that Java reads, too."""
    loaded = forms.load_pem_private_key(key, None)
    return loaded.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
