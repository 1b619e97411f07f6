"""How long drivers wait that open connections of their own: options that they share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

ConnectTimeout = Annotated[
    float,
    Meta(
        gt=0,
        description="Seconds to wait for a connection. Too low takes a busy network for a dead"
        " server; too high delays every answer while a server is away.",
    ),
]

AnswerTimeout = Annotated[
    float,
    Meta(
        gt=0,
        description="Seconds to wait for an answer. Too low takes a busy server for a dead"
        " one; keep it well below heartbeat_interval, or members expire while one attempt"
        " waits.",
    ),
]
