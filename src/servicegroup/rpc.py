"""The way in: whether a service answers what it is asked, as evidence (F-40).

A report proves the way out, and presence that a thread lives. Neither proves that a service takes
work; only its answer to a question does. Nova's services are asked over RPC, all others in their
sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from servicegroup.enumeration import OpenEnum


class RpcState(OpenEnum):
    """What a service makes of questions. Whoever was not asked has no evidence at all."""

    ANSWERS = "answers"
    DEAF = "deaf"


class Rpc(msgspec.Struct, frozen=True, gc=False):
    """What came of the last question to a service.

    ``age`` is how many seconds ago it was asked, None where only changes are recorded. ``deaf_for``
    is how many seconds ago the first of the questions was that it left unanswered. ``detail`` says
    for people what was found. ``decides`` says that deaf is down.
    """

    state: RpcState
    age: float | None = None
    deaf_for: float | None = None
    detail: str = ""
    decides: bool = False

    @property
    def is_deaf(self) -> bool:
        """Whether the service leaves questions unanswered."""
        return self.state is RpcState.DEAF


NOBODY_WAS_ASKED: Mapping[int, Rpc] = MappingProxyType({})


class RpcLimits(msgspec.Struct, frozen=True):
    """How a control plane asks in sessions: every ``interval`` seconds, with ``timeout`` to answer.

    ``deaf_is_down`` says that whoever leaves two in a row unanswered is down.
    """

    interval: float = 30.0
    timeout: float = 10.0
    deaf_is_down: bool = False

    @property
    def patience(self) -> float:
        """Seconds after a question at which the next one has been left unanswered, too."""
        return self.interval + self.timeout
