"""Bodies that ``/v1`` takes: what a newer agent may add, and what is refused (decision 0029)."""

from __future__ import annotations

import msgspec
import pytest

from servicegroup.bodies import Leaves, Reports

UUID = "0b5e2a52-6d0f-4a53-9a0c-0d5c1f2f8a11"


@pytest.mark.parametrize(("field", "kind"), [("reports", Reports), ("leaves", Leaves)])
def test_an_item_of_a_newer_agent_is_taken(field: str, kind: type[msgspec.Struct]) -> None:
    item = {"uuid": UUID, "incarnation": 1, "of_a_later_release": True}
    (taken,) = getattr(msgspec.convert({field: [item]}, kind), field)
    assert (taken.uuid, taken.incarnation) == (UUID, 1)


@pytest.mark.parametrize(("field", "kind"), [("reports", Reports), ("leaves", Leaves)])
def test_what_an_item_needs_cannot_be_misspelt(field: str, kind: type[msgspec.Struct]) -> None:
    with pytest.raises(msgspec.ValidationError, match="incarnation"):
        msgspec.convert({field: [{"uuid": UUID, "incarnatoin": 1}]}, kind)
