"""How a process joins the register: one call, which returns a membership."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from servicegroup.agent.client import DEFAULT_URL, Client, HttpClient
from servicegroup.agent.credentials import TlsFiles
from servicegroup.agent.membership import Membership
from servicegroup.agent.state import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Membership", "State", "client_for", "join"]


def join(
    binary: str,
    *,
    host: str | None = None,
    group: str = "",
    zone: str = "",
    version: int = 0,
    url: str | None = None,
    token: str | Path | None = None,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    healthy: Callable[[], object] | None = None,
    answers: bool = False,
    client: Client | None = None,
) -> Membership:
    """Join this process as the service ``binary`` on ``host`` and keep it joined until it leaves.

    Returns at once; a control plane that is away is tried until it answers. ``host`` is this
    host's name unless given; ``group`` and ``zone`` are the control plane's to choose if empty.
    ``url`` (``$SERVICEGROUP_URL``, else http://127.0.0.1:8774) may list several control planes
    with commas, ``token`` is a text, or the Path of a file that is read again when it changes
    (``$SERVICEGROUP_TOKEN_FILE``, else ``$SERVICEGROUP_TOKEN``). For https, ``ca``
    (``$SERVICEGROUP_CA``, else what this host trusts) is the PEM file of the authorities to trust,
    ``cert`` and ``key`` (``$SERVICEGROUP_CERT``, ``$SERVICEGROUP_KEY``) are what proves this host.
    ``healthy`` is called before each report, from another thread: False, a sentence or an
    exception withholds both signals with that reason, and so does never returning. ``answers``
    promises that the part which does the work calls ``membership.answer()`` each time round: while
    it does not, the service is deaf. ``client`` replaces HTTP.

    Join after a fork, not before: a child neither reports nor leaves for its parent. Raises
    InvalidInput.
    """
    closing = None
    if client is None:
        client = http = client_for(url, token, ca, cert, key)
        closing = http.close
    membership = Membership(
        binary,
        client=client,
        host=host,
        group=group,
        zone=zone,
        version=version,
        healthy=healthy,
        answers=answers,
        closing=closing,
    )
    membership.start()
    return membership


def client_for(
    url: str | None,
    token: str | Path | None,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
) -> HttpClient:
    """Return the client for what is given, or else is in the environment, or the default."""

    def chosen(given: str | None, name: str) -> str:
        return given or os.environ.get(f"SERVICEGROUP_{name}") or ""

    return HttpClient(
        chosen(url, "URL") or DEFAULT_URL,
        token or _token_file() or chosen(None, "TOKEN"),
        TlsFiles(chosen(ca, "CA"), chosen(cert, "CERT"), chosen(key, "KEY")),
    )


def _token_file() -> Path | None:
    if named := os.environ.get("SERVICEGROUP_TOKEN_FILE"):
        from pathlib import Path

        return Path(named)
    return None
