"""What a new client costs, in clients examined, however many are known (F-55)."""

from __future__ import annotations

from typing import Any

import pytest

from servicegroup.api.access.certificates import certify, client_of
from servicegroup.controlplane.clients import ClientQuota, Clients, Limit


@pytest.mark.parametrize("leaving", [False, True])
def test_each_new_client_costs_a_constant_share(
    monkeypatch: pytest.MonkeyPatch, *, leaving: bool
) -> None:
    """Of 30,000 clients none makes more than two be examined, whether they stay or leave."""
    examined, is_idle = 0, ClientQuota.is_idle

    def counted(client: ClientQuota, now: float) -> bool:
        nonlocal examined
        examined += 1
        return is_idle(client, now)

    monkeypatch.setattr(ClientQuota, "is_idle", counted)
    clients = Clients()
    for number in range(30_000):
        before = examined
        client = clients.connect(None, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
        assert not isinstance(client, Limit)
        if leaving:
            clients.disconnect(client)
        assert examined - before <= 2
    assert len(clients._known) == (10_000 if leaving else 30_000)


@pytest.mark.parametrize(
    ("scope", "client"),
    [
        ({"client": ("10.0.0.7", 4711)}, "10.0.0.7"),
        ({"client": ("2001:db8::7", 4711)}, "2001:db8::/64"),
        ({"client": ("127.0.0.1", 4711)}, None),
        ({"client": None}, None),
        ({}, None),
    ],
)
def test_a_request_comes_from_the_client_that_its_connection_counts_for(
    scope: dict[str, Any], client: str | None
) -> None:
    assert client_of(scope) == client
    certify(scope, "h1")
    assert client_of(scope) == "h1"
