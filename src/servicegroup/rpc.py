"""The way in: whether a service answers what it is asked over RPC, as evidence (F-40).

A report proves the way out, and presence that a thread lives. Neither proves that a service takes
work; only its answer to a question does.
"""

from __future__ import annotations

import msgspec

from servicegroup.enumeration import OpenEnum


class RpcState(OpenEnum):
    """What a service makes of questions. Whoever was not asked has no evidence at all."""

    ANSWERS = "answers"
    DEAF = "deaf"


class Rpc(msgspec.Struct, frozen=True, gc=False):
    """What came of the last question to a service.

    ``age`` is how many seconds ago it was asked, ``deaf_for`` how many seconds ago the first of the
    questions was that it left unanswered. ``detail`` says for people what was found. ``decides``
    says that deaf is down.
    """

    state: RpcState
    age: float
    deaf_for: float | None = None
    detail: str = ""
    decides: bool = False

    @property
    def is_deaf(self) -> bool:
        """Whether the service leaves questions unanswered."""
        return self.state is RpcState.DEAF
