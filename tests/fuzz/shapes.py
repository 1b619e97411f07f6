"""What is thrown at every door: texts that somewhere mean something, and JSON of every shape."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

HOSTILE = (
    *("' OR '1'='1", '"; DROP TABLE services; --', "%", "_", "\\", "%s", "{0}", "${x}", "$(id)"),
    *("a\nb", "a\r\nX-Injected: 1", "\x1b[31m\x1b]0;title\x07", "\x9b2J", "\0", "a\0b", "\u2028"),
    *("\u202egnp.exe", "\u200b", "é", "e\u0301", "😀", "\U000e0041", "\ufeff", "<script>", "&lt;"),
    *(
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "../../etc/passwd",
        "%00",
        "%2e%2e",
        " ",
        "  padded  ",
        "a/b",
    ),
    *("NULL", "true", "0", "[bold]x[/bold]", "x" * 255, "x" * 256, "é" * 255, "😀" * 255),
)
"""Texts with a meaning to SQL, terminals, logs, spreadsheets, browsers, shells or paths."""

texts = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

numbers = (
    st.integers(-3, 3)
    | st.sampled_from([2**31 - 1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**40])
    | st.floats(allow_nan=False, allow_infinity=False)
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)

RAW = (
    b"", b"{", b"null", b"[]", b'""', b"NaN", b'{"a": NaN}', b"\xff\xfe{}", b"\xef\xbb\xbf{}",
    b'{"host": "a", "host": "b", "binary": "c"}', b'{"host": "\\ud800", "binary": "b"}',
    b'{"host": "\xff", "binary": "b"}', b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5_000,
    b'{"version": ' + b"9" * 5_000 + b"}", b'{"version": 1e400}', b"{} {}", b"\0",
)  # fmt: skip
"""Bodies that are no JSON, or JSON that parsers disagree on."""


def bodies(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return bodies with some of these fields, right or of any other type, and maybe one more."""
    some = {name: values | json_values for name, values in fields.items()}
    more = st.fixed_dictionaries({}, optional={**some, "more": json_values})
    exact = st.fixed_dictionaries({}, optional=fields)
    return exact | more | json_values | st.sampled_from(RAW)
