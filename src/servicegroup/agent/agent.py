"""How a process joins the register: one call, which returns a membership."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from servicegroup.agent.client import DEFAULT_URL, Client, HttpClient
from servicegroup.agent.membership import Membership, State

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Membership", "State", "client_for", "join"]


def join(
    binary: str,
    *,
    host: str | None = None,
    group: str = "",
    zone: str = "",
    version: int = 0,
    url: str | None = None,
    token: str | None = None,
    healthy: Callable[[], object] | None = None,
    client: Client | None = None,
) -> Membership:
    """Join this process as the service ``binary`` on ``host`` and keep it joined until it leaves.

    Returns at once; a control plane that is away is tried until it answers. ``host`` is this
    host's name unless given; ``group`` and ``zone`` are the control plane's to choose if empty.
    ``url`` (``$SERVICEGROUP_URL``, else http://127.0.0.1:8774) may list several control planes
    with commas, ``token`` is ``$SERVICEGROUP_TOKEN``. ``healthy`` is called before each report,
    from another thread: False, a sentence or an exception withholds both signals with that
    reason, and so does never returning. ``client`` replaces HTTP.

    Join after a fork, not before: a child neither reports nor leaves for its parent. Raises
    InvalidInput.
    """
    closing = None
    if client is None:
        client = http = client_for(url, token)
        closing = http.close
    membership = Membership(
        binary,
        client=client,
        host=host,
        group=group,
        zone=zone,
        version=version,
        healthy=healthy,
        closing=closing,
    )
    membership.start()
    return membership


def client_for(url: str | None, token: str | None) -> HttpClient:
    """Return the client for a URL and token, or for those of the environment, or the default."""
    return HttpClient(
        url or os.environ.get("SERVICEGROUP_URL") or DEFAULT_URL,
        token or os.environ.get("SERVICEGROUP_TOKEN") or "",
    )
