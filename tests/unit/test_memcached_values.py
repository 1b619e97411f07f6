"""What is read from memcached and from its configuration never raises the wrong thing."""

from __future__ import annotations

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st

from servicegroup.drivers.memcached.driver import MemcachedDriver, member_key, parse
from servicegroup.errors import ConfigError
from servicegroup.model import Member

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255)


@given(st.binary() | st.from_regex(rb"-?[0-9]* ?[0-9.einfa]*", fullmatch=True))
def test_a_planted_value_never_raises(value: bytes) -> None:
    found = parse(value)
    assert found is None or found[1] > 0


@given(st.integers(0, 2**63), st.integers(1, 10**6))
def test_what_a_heartbeat_writes_is_read_back(incarnation: int, milliseconds: int) -> None:
    ttl = milliseconds / 1000
    written = parse(b"%d %g" % (incarnation, ttl))
    assert written is not None
    assert written[0] == incarnation
    assert abs(written[1] - ttl) <= ttl / 1000


@given(names, names)
@example("with space", "h" * 255)
def test_every_member_has_a_key_memcached_takes(group: str, host: str) -> None:
    """MC-3."""
    key = member_key(Member(group, host))
    assert 0 < len(key) <= 250
    assert key.isascii()
    assert key.isprintable()
    assert " " not in key


@given(names, names, names, names)
def test_no_two_members_share_a_key(group: str, host: str, group_2: str, host_2: str) -> None:
    first, second = Member(group, host), Member(group_2, host_2)
    assert (member_key(first) == member_key(second)) == (first == second)


@given(st.text())
def test_a_list_of_servers_is_taken_or_refused(servers: str) -> None:
    with contextlib.suppress(ConfigError):
        MemcachedDriver.from_options({"servers": servers}).close()
