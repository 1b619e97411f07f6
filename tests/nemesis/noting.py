"""What a process of services writes down: its lives, their signals, and how each of them ended.

In the history of ``NEMESIS_HISTORY``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from promises.history import Ended, Evicted, Joined, Proof, Recorder
from servicegroup.messages import Refusals

record = Recorder(Path(os.environ["NEMESIS_HISTORY"]))
lives: dict[tuple[str, int], Joined] = {}
"""Every registration of this process, by uuid and incarnation."""
leaving: dict[tuple[str, int], float] = {}
"""Since when each of them has asked to leave."""


def refusal(answer: Refusals | None, uuid: str) -> str:
    """Return which list of an answer a service is in; nothing for none."""
    lists = ("deleted", "superseded", "left", "unknown")
    return next((name for name in lists if answer and uuid in getattr(answer, name)), "")


def named(life: Joined) -> dict[str, Any]:
    """Return whose life it is, as records have it."""
    return {name: getattr(life, name) for name in ("host", "binary", "uuid", "incarnation")}


def proven(
    life: Joined, signal: Any, sent: float, *, acknowledged: bool, refused: str = ""
) -> None:
    """Write down an attempt to give a signal, which is over."""
    record(
        Proof(
            **named(life),
            signal=signal,
            sent=sent,
            ended=time.monotonic(),
            acknowledged=acknowledged and not refused,
            refused=refused,
        )
    )


def ended(life: Joined, how: Any, asked: float) -> None:
    """Write down a departure, or that it was asked for and not answered."""
    record(Ended(**named(life), how=how, asked=asked, at=time.monotonic()))


def broken(life: Joined, begun: float, until: float) -> None:
    """Write down that a life may have had no session between two moments."""
    whose = named(life)
    del whose["uuid"]
    record(Evicted(**whose, begun=begun, ended=until))
