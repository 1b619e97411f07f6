"""Sessions: how soon each way to lose one shows, what they cost, what a restart does to them."""

from __future__ import annotations

SESSION = {"servicegroup_driver": "session"}
"""All else is the default configuration."""
