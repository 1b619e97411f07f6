"""Batches that isolate what cannot be stored, so that it costs nobody else anything (F-2).

One text that the database has no characters for fails the transaction of everybody in it. What is
plain, a uuid and a number, always fits and is committed first; the others are halved until each
that cannot be stored is alone, which takes twice the logarithm of their number for one of them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from servicegroup.messages import OfLife, Refusals
from servicegroup.remembered import Remembered
from servicegroup.store.database import is_of_values

ATTEMPTS = 64
"""Transactions that are tried for what is not plain; what is left after them is refused, too.

It moves no stamp: it is a text about a failure or a departure, or names no uuid.
"""

LOG = logging.getLogger(__name__)

L = TypeVar("L", bound=OfLife)


def isolating(
    items: Sequence[L],
    is_plain: Callable[[L], bool],
    commit: Callable[[Sequence[L]], Refusals],
    logged: Remembered[str, str],
) -> Refusals:
    """Commit the items, all at once or else in parts, and return who was refused.

    What cannot be stored is refused as ``invalid``. ``commit`` is called first with all of them,
    and may raise anything; only what is of the values is not passed on. The log names each uuid
    once, as far as it is remembered in ``logged``.
    """
    try:
        return commit(items)
    except Exception as error:
        plain = [item for item in items if is_plain(item)]
        if len(plain) == len(items) or not is_of_values(error):
            raise
    refused = commit(plain)
    parts = deque([[item for item in items if not is_plain(item)]])
    for _ in range(ATTEMPTS):
        part = parts.popleft()
        try:
            refused = _together(refused, commit(part))
        except Exception as error:
            if not is_of_values(error):
                raise
            middle = len(part) // 2
            if middle:
                parts += (part[:middle], part[middle:])
            else:
                if not logged.found([part[0].uuid]):
                    LOG.warning("What %r says cannot be stored: %s", part[0].uuid, _cause(error))
                logged.add({part[0].uuid: ""})
                refused = _together(refused, _invalid(part))
        if not parts:
            break
    return _together(refused, *map(_invalid, parts))


def _invalid(items: Sequence[OfLife]) -> Refusals:
    return Refusals(invalid=frozenset(item.uuid for item in items))


def _together(*some: Refusals) -> Refusals:
    kinds = zip(*map(msgspec.structs.astuple, some), strict=True)
    return Refusals(*(frozenset().union(*kind) for kind in kinds))


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
