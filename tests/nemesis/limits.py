"""The limits that all worlds have: short ones, so that much happens in ten minutes."""

from __future__ import annotations

from servicegroup.model import Limits

LIMITS = Limits(report_interval=1, service_down_time=6, heartbeat_interval=0.5, membership_ttl=2)
SESSION = 2.0
"""Seconds of ZooKeeper's session timeout; it is silent for two thirds of it before kazoo's ping."""

OF_SESSIONS = Limits(
    report_interval=1, service_down_time=9, heartbeat_interval=0.5, membership_ttl=5
)
"""Those where sessions are the backend: for 3 s a control plane may not know that it is cut off."""

LINGER = 1.0
"""Seconds in which one connection may take the place of another; the default."""
