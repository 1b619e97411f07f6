"""The peer of the benchmarks: a stock Nova 34 from its package, brought up and measured by scripts.

Its processes are servers of the tests (`servers.nova`), which this package finds by putting the
tests' directory on the import path. `seed` fills it with services, `measure` times it. From the
root of the checkout::

    python -m benchmarks.nova_peer --services 1000 10000 --json
"""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = str(Path(__file__).parents[2] / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)
