"""What schemathesis cannot know of our API: what our formats look like, and one number's two ways.

It imports this module in its own process.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import strategies as st

# Without control, format, surrogate, private and unassigned characters, and without separators.
_characters = st.characters(exclude_categories=["C", "Z"]) | st.just(" ")
schemathesis.openapi.format("printable", st.text(_characters, min_size=1, max_size=255))
schemathesis.openapi.format("naive-date-time", st.datetimes().map(lambda at: at.isoformat()))


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Write whole numbers as such: to JSON Schema 7.0 is an integer, to us a fraction."""
    if isinstance(body, float) and body.is_integer():
        return int(body)
    if isinstance(body, list):
        return [map_body(context, item) for item in body]
    if isinstance(body, dict):
        return {name: map_body(context, value) for name, value in body.items()}
    return body
