"""Every kind of fault, by name: importing this makes them known."""

from nemesis.faults import (
    backends,
    clusters,
    databases,
    fleet,
    halfway,
    operators,
    planes,
    poolers,
    ways,
)
from nemesis.faults.kinds import KINDS, Kind

__all__ = [
    "KINDS",
    "Kind",
    "backends",
    "clusters",
    "databases",
    "fleet",
    "halfway",
    "operators",
    "planes",
    "poolers",
    "ways",
]
