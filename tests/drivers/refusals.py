"""Why calls to a driver fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from servicegroup.errors import DriverUnavailable


def refused(*calls: Callable[[], object]) -> list[str]:
    """Return the sentences with which these calls are refused; each has to be."""
    texts = []
    for call in calls:
        with pytest.raises(DriverUnavailable) as refusal:
            call()
        texts.append(str(refusal.value))
    return texts
