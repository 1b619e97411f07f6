"""What an intake did, for metrics."""

from __future__ import annotations

import time

import msgspec

from servicegroup.measuring import LATENCIES, Distribution
from servicegroup.messages import Refusals

BATCH_SIZES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
"""Edges for the reports of a batch; one without any commits a mark."""


class Statistics(msgspec.Struct):
    """What the intake did since it was made, for metrics; ``last_commit_at`` begins there too."""

    reports: int = 0
    batches: Distribution = msgspec.field(default_factory=lambda: Distribution(BATCH_SIZES))
    commit_seconds: Distribution = msgspec.field(default_factory=lambda: Distribution(LATENCIES))
    last_commit_at: float = msgspec.field(default_factory=time.monotonic)
    failed_commits: int = 0
    refused_requests: int = 0
    refused_reports: dict[str, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys(Refusals.__struct_fields__, 0)
    )
