"""What is remembered is bounded, and what is added replaces so much and no more (F-55)."""

from __future__ import annotations

from servicegroup.remembered import Remembered


def test_each_new_entry_replaces_the_oldest() -> None:
    remembered: Remembered[int, str] = Remembered(100)
    for number in range(100):
        remembered.add({number: str(number)})
    for number in range(100, 1_000):
        remembered.add({number: str(number)})
        kept = range(number - 99, number + 1)
        assert len(remembered) == 100
        assert remembered.found((number - 100, kept[0], number)) == {
            kept[0]: str(kept[0]), number: str(number),
        }  # fmt: skip


def test_what_is_known_already_replaces_nothing() -> None:
    remembered: Remembered[int, int] = Remembered(2)
    remembered.add({1: 1, 2: 2})
    remembered.add({1: 11, 2: 22})
    assert remembered.found((1, 2, 3)) == {1: 11, 2: 22}


def test_more_than_all_leaves_the_newest() -> None:
    remembered: Remembered[int, int] = Remembered(3)
    remembered.add({number: number for number in range(10)})
    assert remembered.found(range(10)) == {7: 7, 8: 8, 9: 9}


def test_what_is_forgotten_makes_room() -> None:
    remembered: Remembered[int, int] = Remembered(2)
    remembered.add({1: 1, 2: 2})
    remembered.forget(1)
    remembered.forget(1)
    remembered.add({3: 3})
    assert remembered.found((1, 2, 3)) == {2: 2, 3: 3}
