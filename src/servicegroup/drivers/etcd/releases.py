"""Releases of etcd in which a former leader that stalled may end leases that live (ET-4)."""

from __future__ import annotations

import re
from collections.abc import Mapping

MENDED = {(3, 4): 31, (3, 5): 13}
"""The patch release, by release, from which on it asks the others first; 3.6 always did."""


def advice(versions: Mapping[str, str]) -> list[str]:
    """Return what to do about servers of older releases; ``versions`` are by endpoint."""
    old: dict[str, list[str]] = {}
    for endpoint, version in versions.items():
        if _is_old(version):
            old.setdefault(version, []).append(endpoint)
    return [
        f"etcd {version} at {','.join(endpoints)} may end leases that live, once a leader that"
        " stalled goes on, and their members are absent until their next heartbeats: upgrade it to"
        " 3.4.31, 3.5.13 or a later release."
        for version, endpoints in old.items()
    ]


def _is_old(version: str) -> bool:
    """Tell whether a version is one that does so; of one that is unknown nothing is said."""
    found = re.match(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", version)
    if found is None:
        return False
    major, minor, patch = map(int, found.groups())
    return (major, minor) < min(MENDED) or patch < MENDED.get((major, minor), 0)
