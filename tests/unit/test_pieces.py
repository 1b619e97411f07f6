"""A column that is kept is what it would be if it were written anew, and little of it is."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.api.pieces import Told, moved, values

numbers = st.integers(-2, 2)
columns = st.lists(numbers, max_size=6)


@given(st.lists(columns | columns.map(lambda column: array("q", column)), max_size=8))
def test_a_column_is_what_it_would_be(lists: list[Sequence[int]]) -> None:
    told = Told(lambda some: values(list(some)))
    for column in lists:
        assert told.of(column) == values(list(column))


@pytest.mark.parametrize("made", [list, lambda column: array("q", column)], ids=["list", "array"])
def test_only_what_moved_is_written(made: Callable[[Sequence[int]], Sequence[int]]) -> None:
    written: list[list[int]] = []

    def write(some: Sequence[int]) -> list[str]:
        written.append(list(some))
        return values(list(some))

    told = Told(write)
    for column, anew in (
        ([1, 2, 3, 4], [[1, 2, 3, 4]]),
        ([1, 2, 3, 4], []),
        ([1, 9, 3, 4], [[9]]),
        ([1, 9, 8, 7], [[8, 7]]),
        ([6, 6, 6, 7], [[6, 6, 6, 7]]),  # most of them moved
        ([6, 6, 6, 7, 7], [[6, 6, 6, 7, 7]]),
        ([], [[]]),
    ):
        written.clear()
        assert told.of(made(column)) == values(column)
        assert written == anew


@pytest.mark.parametrize("moves", [0, 1, 400, 600, 1_000])
def test_a_sample_tells_whether_most_of_a_long_column_moved(moves: int) -> None:
    before = list(range(1_000))
    column = [-one if one < moves else one + 1_000_000 for one in before]
    written: list[int] = []

    def write(some: Sequence[int]) -> list[str]:
        written.append(len(some))
        return values(list(some))

    told = Told(write)
    for former in (before, [one + 1_000_000 for one in before]):
        told.of(former)
        written.clear()
        assert told.of(column) == values(column)
    assert written == ([1_000] if moves > 500 else [moves] if moves else [])


@given(columns, columns)
def test_what_moved_is_told_by_its_place(one: list[int], another: list[int]) -> None:
    many = min(len(one), len(another))
    expected = [place for place in range(many) if one[place] != another[place]]
    assert moved(one[:many], another[:many]) == expected


def test_what_could_not_be_written_is_written_the_next_time() -> None:
    failing = [False]

    def write(some: Sequence[int]) -> list[str]:
        if failing[0]:
            raise MemoryError
        return values(list(some))

    told = Told(write)
    assert told.of([1, 2, 3]) == ["1", "2", "3"]
    failing[0] = True
    with pytest.raises(MemoryError):
        told.of([1, 2, 9])
    failing[0] = False
    assert told.of([1, 2, 9]) == ["1", "2", "9"]
