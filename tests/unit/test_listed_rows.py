"""Rows that are kept are what they would be if they were made anew, whatever moved."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servicegroup.api.compute import rows
from servicegroup.api.compute.os_services import VIEWS, view_2_53
from servicegroup.api.compute.rows import Rows, rows_of
from servicegroup.batches import Stated
from servicegroup.model import Service
from servicegroup.moments import NEVER


def service(number: int, **facts: object) -> Service:
    known: dict[str, Any] = dict.fromkeys(Service.__struct_fields__)
    known |= {"id": number, "uuid": f"uuid-{number}", "host": 'a "host"\nof two lines'}
    known |= {"binary": "nova-compute", "zone": "é", "disabled": False, "forced_down": False}
    return Service(**known | facts)


SERVICES = [
    *(service(number) for number in range(3)),
    service(1, disabled=True, disabled_reason='broken\r\nat noon\u2028"updated_at":null'),
    service(2, binary="nova-metadata"),
]
stated = st.tuples(
    st.sampled_from(SERVICES),
    st.sampled_from(["up", "down"]),
    st.sampled_from([NEVER, 0, 849_000_000_000_000, 849_000_000_000_001]),
)
lists = st.lists(st.lists(stated, max_size=4), max_size=3)

One = tuple[Service, str, int]


def shown(made: Rows, batches: list[list[One]]) -> list[Any]:
    bodies = [b"[" + part + b"]" for part in made.encoded(map(in_columns, batches))]
    return [json.loads(body) for body in bodies]


def in_columns(batch: list[One]) -> Stated:
    return Stated(*([one[n] for one in batch] for n in range(3)))  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.sampled_from(list(VIEWS.values())), st.lists(lists, min_size=2, max_size=5))
def test_what_is_kept_is_what_would_be_made(view: Any, polls: list[list[list[One]]]) -> None:
    keeping = Rows(view, keep=True)
    for batches in polls:
        assert shown(keeping, batches) == shown(Rows(view), batches)


def test_only_who_moved_is_shown_anew_where_most_did_not() -> None:
    seen: list[int] = []

    def view(one: Service, state: str, at: str | None) -> msgspec.Struct:
        seen.append(one.id)
        return view_2_53(one, state, at)

    keeping = Rows(view, keep=True)
    first: list[One] = [(one, "up", 5) for one in SERVICES[:3]]
    for batch, made in (
        (first, [0, 1, 2]),
        ([*first[:2], (SERVICES[2], "down", 5)], [0, 1, 2]),  # who polls gets rows that are kept
        (first, [2]),
        ([first[0], (SERVICES[3], "up", 5), first[2]], [1]),
        ([(one, "up", 6) for one in SERVICES[:3]], [1]),  # not who only reported
        ([(one, "down", 6) for one in SERVICES[:3]], [0, 1, 2]),
    ):
        shown(keeping, [batch])
        assert seen == made
        seen.clear()


def test_few_lists_are_kept_and_none_of_a_register_that_is_gone() -> None:
    class Register:
        keeps_rows = True

    register: Any = Register()
    first = rows_of(register, "first", view_2_53)
    assert rows_of(register, "first", view_2_53) is first
    for number in range(rows.KEPT_LISTS):
        rows_of(register, number, view_2_53)
    assert rows_of(register, "first", view_2_53) is not first
    before = len(rows._kept)
    del register
    assert len(rows._kept) == before - 1


@pytest.mark.parametrize("kept", [True, False])
def test_nothing_is_kept_where_services_are_read_whole_each_time(kept: bool) -> None:
    class Register:
        keeps_rows = kept

    made = rows_of(Register(), "list", view_2_53)  # type: ignore[arg-type]
    shown(made, [[(SERVICES[0], "up", 5)]])
    assert len(made._batches) == kept
