"""Whatever a header, a body or a query holds, a parser returns what it promises or InvalidInput."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from servicegroup.api.compute.microversions import MAX, MIN, UnsupportedVersion, negotiate, text_of
from servicegroup.api.v1.query import event_filter, whole_number
from servicegroup.bodies import Edit, Leaves, NewService, Reports, decode_with
from servicegroup.errors import InvalidInput
from servicegroup.events import moment
from servicegroup.model import Departure

from .conftest import thoroughly
from .shapes import RAW, bodies, numbers, texts

lives = {"uuid": st.uuids().map(str) | texts, "incarnation": numbers}
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    NewService: bodies(host=texts, binary=texts, group=texts, zone=texts, version=numbers),
    Reports: bodies(reports=st.lists(bodies(**lives, failing=st.none() | texts), max_size=3)),
    Leaves: bodies(
        leaves=st.lists(bodies(**lives, how=st.sampled_from(Departure), detail=texts), max_size=3)
    ),
    Edit: bodies(
        disabled=st.booleans(), disabled_reason=st.none() | texts, forced_down=st.booleans()
    ),
}


def as_bytes(body: Any) -> bytes:
    """Return a body as it goes over the wire; what cannot, such as bytes in it, is not tried."""
    try:
        return body if isinstance(body, bytes) else msgspec.json.encode(body)
    except (TypeError, UnicodeEncodeError):
        assume(False)
        raise AssertionError("unreachable") from None


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_is_of_its_kind_or_refused(kind: Any) -> None:
    decoder = msgspec.json.Decoder(kind)

    @thoroughly
    @given(KINDS[kind].map(as_bytes) | st.binary(max_size=60) | st.sampled_from(RAW))
    def check(body: bytes) -> None:
        with suppress(InvalidInput):
            decoded = decode_with(decoder, body)
            # What was taken can be sent on: no lone surrogates, no numbers that JSON cannot have.
            assert decoder.decode(msgspec.json.encode(decoded)) == decoded

    check()


majors_and_minors = st.tuples(st.integers(0, 4), st.integers(0, 200))
foreign = st.sampled_from(["volume 3.70", "placement 1.39", "computer 2.53", "", "compute", " , "])


@thoroughly
@given(majors_and_minors, st.lists(foreign), st.lists(foreign), st.sampled_from([" ", "\t", "  "]))
def test_a_microversion_is_found_among_those_of_other_services(
    version: tuple[int, int], before: list[str], after: list[str], blank: str
) -> None:
    asked = ",".join([*before, f"Compute{blank}{text_of(version)} ", *after])
    headers = {"openstack-api-version": asked, "x-openstack-nova-api-version": "2.7"}
    if MIN <= version <= MAX:
        assert negotiate(headers) == version
    else:
        with pytest.raises((UnsupportedVersion, InvalidInput)):
            negotiate(headers)


@thoroughly
@given(st.text() | texts, st.text() | st.sampled_from(["latest", "2." + "9" * 5_000, "9" * 5_000]))
def test_a_microversion_is_in_the_range_or_refused(ours: str, old: str) -> None:
    for headers in (
        {"openstack-api-version": ours},
        {"openstack-api-version": f"compute {ours}", "x-openstack-nova-api-version": old},
        {"x-openstack-nova-api-version": old},
    ):
        with suppress(InvalidInput, UnsupportedVersion):
            assert MIN <= negotiate(headers) <= MAX


@thoroughly
@given(st.text() | numbers.map(str), st.integers(0, 5), st.integers(0, 2**63))
@example("0" * 5_000, 0, 2**63)
@example("0" * 19 + "99", 0, 9)
@example("\u0663", 0, 9)
@example("9" * 5_000, 0, 2**63)
def test_a_number_is_in_its_range_or_refused(text: str, least: int, most: int) -> None:
    with suppress(InvalidInput):
        assert least <= whole_number("limit", text, least, most) <= most


@thoroughly
@given(st.text() | st.datetimes().map(datetime.isoformat) | st.datetimes().map(str))
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
@example("2026-W01-1T24")
def test_a_moment_is_naive_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        assert moment("since", text).tzinfo is None


@thoroughly
@given(
    st.dictionaries(st.sampled_from(["after", "uuid", "group", "kind", "since", "until"]), texts),
    st.none() | texts,
)
def test_a_question_for_events_is_one_or_refused(given_: dict[str, str], last: str | None) -> None:
    try:
        wanted = event_filter(given_, last)
    except InvalidInput:
        return
    assert wanted.uuid == given_.get("uuid")
    assert wanted.group == given_.get("group")
