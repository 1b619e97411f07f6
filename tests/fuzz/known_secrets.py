"""Secrets that are known, and the search for them in all that a program shows."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from urllib.parse import quote

SECRETS = {
    name: f"Kq{number}{name}Zw8x/@%"
    for number, name in enumerate(("database", "zookeeper", "redis", "etcd", "admin", "agent"))
}
"""A secret for each purpose, with characters that URLs and INI files give a meaning to."""


def encoded(name: str) -> str:
    """Return a secret as a URL holds it."""
    return quote(SECRETS[name], safe="")


def leaks(shown: Mapping[str, bytes]) -> list[str]:
    """Return which secrets are in what was shown, and where: plain, percent-encoded, or base64.

    Each is looked for by its letters, which no way of quoting changes.
    """
    return [
        f"{name} in {where}: …{_around(text, form)}…"
        for where, text in shown.items()
        for name, secret in SECRETS.items()
        for form in _forms(secret.partition("/")[0].encode())
        if form in text
    ]


def _forms(secret: bytes) -> Iterable[bytes]:
    yield secret
    yield secret.hex().encode()
    for before in range(3):  # base64 depends on how many bytes stand before it
        whole = base64.b64encode(bytes(before) + secret)
        yield whole[4 if before else 0 : len(whole) - 4]


def _around(text: bytes, form: bytes) -> str:
    at = text.index(form)
    return text[max(0, at - 100) : at + len(form) + 40].decode(errors="replace")
