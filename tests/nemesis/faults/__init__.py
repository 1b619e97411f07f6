"""Every kind of fault, by name: importing this makes them known."""

from nemesis.faults import backends, databases, fleet, halfway, operators, planes, ways
from nemesis.faults.kinds import KINDS, Kind

__all__ = [
    "KINDS",
    "Kind",
    "backends",
    "databases",
    "fleet",
    "halfway",
    "operators",
    "planes",
    "ways",
]
