"""Members that are present in a Redis, and a register that has settled on it."""

from __future__ import annotations

from servicegroup.drivers.redis import RedisDriver
from servicegroup.model import Member, PresenceState
from servicegroup.testing.harness import states
from support.waiting import until

CROWD = [Member("compute", f"host-{number}") for number in range(20)]


def beat(agent: RedisDriver, ttl: float = 30) -> None:
    """Heartbeat for everybody of the crowd, for ``ttl`` seconds."""
    for member in CROWD:
        agent.heartbeat(member, 1, ttl)


def settle(agent: RedisDriver, observer: RedisDriver) -> None:
    """Join with a short time to live and wait until misses are believed."""
    beat(agent, 1)
    until(lambda: states(observer.presence(CROWD)) == {PresenceState.ABSENT})
