"""The limits that all worlds have: short ones, so that much happens in ten minutes."""

from __future__ import annotations

from servicegroup.model import Limits

LIMITS = Limits(report_interval=1, service_down_time=6, heartbeat_interval=0.5, membership_ttl=2)
SESSION = 2.0
"""Seconds of ZooKeeper's session timeout; it is silent for two thirds of it before kazoo's ping."""
