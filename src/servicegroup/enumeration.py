"""Enumerations whose values other releases write too: what is not known stays as it is (F-53)."""

from __future__ import annotations

import enum
from typing import Self


class OpenEnum(enum.StrEnum):
    """Words that are read from the database, or from another control plane.

    A newer release may know more of them, and a register may have been written by one. A word that
    is not known is a value of its own, equal to none of the members, and is shown as it was told.
    What decides by such a value has to compare it with members, and to be careful with all others.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        found = str.__new__(cls, value)
        found._name_ = found._value_ = value
        return found
