"""Holds a session, and asks, in a process of eventlet's threads: run with the URL of a register.

It prints what it is told of itself, and the longest time in which no other thread got its turn.
"""

import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402
import time  # noqa: E402

from servicegroup.model import Member, PresenceState  # noqa: E402
from servicegroup.nova.session import SessionDriver, SessionOptions  # noqa: E402

SECONDS = 15.0

driver = SessionDriver(SessionOptions(url=sys.argv[1]))
green = Member("green", "thread")
driver.heartbeat(green, 1, 10.0)
begun = last = time.monotonic()
longest = 0.0
present_at = None
while (now := time.monotonic()) < begun + SECONDS:
    if present_at is None and driver.presence([green])[green].state is PresenceState.PRESENT:
        present_at, longest = now, 0.0
    longest, last = max(longest, now - last), now
    time.sleep(0.02)
print(driver.presence([green])[green].detail)
print(longest)
