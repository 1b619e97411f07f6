"""The promises of docs/promises.md: each a question to a history, answered by its violations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from promises import log, records, verdicts
from promises.history import History

PROMISES: dict[str, Callable[[History], Iterator[str]]] = {
    "completeness": verdicts.completeness,
    "accuracy": verdicts.accuracy,
    "protection": verdicts.protection,
    "explanation": verdicts.explanation,
    "acknowledged": records.acknowledged,
    "administration": records.administration,
    "deletion": records.deletion,
    "coherence": log.coherence,
    "events": log.events,
    "recorded": log.recorded,
}
"""By name, the heading in docs/promises.md. Each violation is a sentence: who, when, what."""


def violations(history: History) -> list[str]:
    """Return how a history breaks the promises, each violation with the promise's name."""
    return [f"{name}: {found}" for name, check in PROMISES.items() for found in check(history)]
