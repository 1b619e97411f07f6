"""A copy of a range that is brought up to date is the range, or says that it cannot tell (ET-6)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicegroup.drivers.etcd.copies import Copy
from servicegroup.drivers.etcd.gateway import Header, KeyValue, Range
from servicegroup.drivers.etcd.keys import Key
from servicegroup.model import Member

PREFIX = "/servicegroups"
WHOLE = {"key": b"/servicegroups/compute/", "range_end": b"/servicegroups/compute0"}


def name(number: int) -> bytes:
    """Name the key of the n-th member; two of them share a host."""
    return Key(Member("compute", f"host-{number // 2}"), number % 2).name(PREFIX)


class Store:
    """Keys with the revision and lease of their last change, as etcd's rules have them."""

    def __init__(self, term: int = 2) -> None:
        self.revision, self.term = 1, term
        self.keys: dict[bytes, tuple[int, int]] = {}

    def put(self, number: int, lease: int = 7) -> None:
        self.revision += 1
        self.keys[name(number)] = (self.revision, lease)

    def delete(self, number: int) -> None:
        if self.keys.pop(name(number), None):
            self.revision += 1

    @property
    def header(self) -> Header:
        return Header(cluster_id=5, revision=self.revision, raft_term=self.term)

    def answer(self, question: dict[str, Any]) -> Range:
        """Filter keys by their revision; the count is of all, as etcd has it."""
        since = question.get("min_mod_revision", 0)
        told = [
            KeyValue(key, b'{"ttl": 10}', lease)
            for key, (revision, lease) in self.keys.items()
            if revision >= since
        ]
        return Range(told, len(self.keys))

    def whole(self) -> Copy:
        return Copy.of(PREFIX, self.header, self.answer(dict(WHOLE)))


changes = st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=12)


@given(changes, changes)
def test_it_is_the_range_or_cannot_tell(
    before: list[tuple[bool, int]], after: list[tuple[bool, int]]
) -> None:
    store = Store()
    for puts, number in before:
        store.put(number) if puts else store.delete(number)
    copy = store.whole()
    for puts, number in after:
        store.put(number, lease=9) if puts else store.delete(number)
    current = copy.with_changes(PREFIX, store.header, store.answer(copy.question(WHOLE)))
    gone = copy.lives.keys() - store.keys.keys()
    assert (current is None) == bool(gone)
    if current is not None:
        assert current.lives == store.whole().lives
        assert current.held == store.whole().held
        assert current.header == store.header


@pytest.mark.parametrize("term", [3, 1])
def test_a_store_that_may_have_been_restored_is_read_whole(term: int) -> None:
    old, new = Store(), Store(term)
    for store in (old, new):
        for number in range(3):
            store.put(number)
    copy = old.whole()
    assert copy.with_changes(PREFIX, new.header, new.answer(copy.question(WHOLE))) is None


def test_whoever_planted_a_key_is_no_member() -> None:
    planted = KeyValue(b"/servicegroups/compute/host/not-a-number")
    copy = Copy.of(PREFIX, Header(), Range([planted], 1))
    assert copy.held == {}
