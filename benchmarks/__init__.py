"""What servicegroup reaches, measured on real servers beside a real Nova: one script per claim.

`python -m benchmarks` measures everything and writes RESULTS.md; with names it measures those and
only prints. The servers are those of the tests, found by putting their directory on the path.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The checkout."""

if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))
