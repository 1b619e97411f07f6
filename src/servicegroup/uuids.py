"""One form of a uuid: what comes from outside in any spelling is brought to it before it is used.

A uuid may be written in capital letters, in braces, without dashes or as a URN, and databases
differ in which of these they take for the same. So the types that hold one from outside
(``Report``, ``Leave``, ``ServiceFilter``, ``EventFilter``) and the layer bring it to the form that
the record has. From there on it is compared exactly, everywhere (F-54).
"""

from __future__ import annotations

import re

from servicegroup.errors import InvalidInput

LONGEST = 45
"""Characters of the longest spelling, a URN."""

is_written = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch

_spelt = re.compile(
    r"(?:urn:uuid:)?(\{)?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})"
    r"(?(1)\})",
    re.ASCII | re.IGNORECASE,
).fullmatch


def one_form(text: str) -> str:
    """Return a uuid in lower case with dashes, however it is spelt; any other text as it is."""
    if is_written(text):
        return text
    found = _spelt(text)
    return "-".join(found.groups()[1:]).lower() if found else text


def uuid_of(text: str) -> str:
    """Return a uuid in its one form. Raises InvalidInput for what is no uuid."""
    found = one_form(text)
    if not is_written(found):
        raise InvalidInput(f"Invalid uuid {text}")
    return found
