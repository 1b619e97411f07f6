"""One API, again and again: asked, compared with its last answer, told to the register."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from servicegroup.errors import ServiceGroupError, Unavailable
from servicegroup.mirror.apis import Api
from servicegroup.mirror.cloud import Cloud, Listing
from servicegroup.mirror.register import Register
from servicegroup.mirror.tracking import Tracker

LOG = logging.getLogger(__name__)

SHARE_OF_CORE = 0.05
"""What a mirror takes of a processor at the most, all its APIs together."""

SHARE_OF_API = 0.2
"""The share of the time in which an API may be busy with an answer to the mirror."""

LONGEST_PAUSE = 60.0
"""Seconds between two questions at the most, however slow an API is."""

MOST_SAID = 10_000
"""Sentences of which it is remembered that the log has them."""

NOTHING = (
    "lists no service: it has none, or hides them from this user, as Neutron does instead of"
    " refusing; give the user the role that may list them."
)
"""What is said of an API of which no service is known."""

SLOW = 15.0
"""Seconds without a look of which the mirror's own state says that it is failing."""


class Mirror:
    """The services of one API of a cloud in a register, kept by a thread of its own."""

    def __init__(self, cloud: Cloud, api: Api, register: Register, interval: float) -> None:
        """Ask every ``interval`` seconds, or less often where that is too much for somebody."""
        self.api = api
        self._cloud = cloud
        self._register = register
        self._interval = interval
        self._tracker = Tracker()
        self._opened = False
        self._trouble: str | None = None
        self._looked_at = time.monotonic()
        self._said: set[str] = set()
        self._shares = 1
        self._pause = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mirror-{api.name}", daemon=True)

    def __len__(self) -> int:
        """Return how many services are mirrored."""
        return len(self._tracker)

    def look(self) -> None:
        """Ask once and tell the register. Raises InvalidInput, Unavailable, Conflict."""
        begun, used = time.monotonic(), time.thread_time()
        listing = self._cloud.services(self.api)
        took = time.monotonic() - begun
        if not self._opened:
            self._tracker.opened(self._register.open())
            self._opened = True
        changes = self._tracker.changes(listing.services)
        # In this order nothing is silent by a report that has arrived and is not told yet.
        told = self._register.tell(changes.told, listing.now)
        lost = self._register.report(changes.moved)
        self._register.end_look(changes.gone, complete=changes.complete)
        self._tracker.did(listing.services, changes, told.services)
        self._tracker.forget(lost)
        self._say([*listing.nameless, *told.refused, *self._nothing(listing)])
        self._trouble = self._incomplete(len(changes.unsure)) if not changes.complete else None
        self._looked_at = time.monotonic()
        cpu = (time.thread_time() - used) * self._shares / SHARE_OF_CORE
        self._pause = min(max(self._interval, took / SHARE_OF_API, cpu), LONGEST_PAUSE)

    def start(self, shares: int) -> None:
        """Go on looking in a thread of its own, one of so many that share the processor's time."""
        self._shares = shares
        self._thread.start()

    def health(self) -> bool | str:
        """Return what hinders the mirror, in a sentence, or True."""
        since = time.monotonic() - self._looked_at
        if self._trouble is not None:
            return self._trouble
        if since > SLOW + self._pause:
            return f"{self.api.name} of cloud {self._cloud.name} has not answered for {since:.0f} s"
        return True

    def failed(self, error: ServiceGroupError) -> None:
        """Take note that a look failed; say so once."""
        said = str(error)
        if said != self._trouble:
            LOG.warning("%s", said)
        self._trouble = said

    def stop(self) -> None:
        """Stop looking, and wait for a look that is on its way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        failures = 0
        while not self._stop.wait(min(self._pause * 2**failures, LONGEST_PAUSE)):
            before = self._trouble
            try:
                self.look()
                failures = 0
            except ServiceGroupError as error:
                failures = min(failures + 1, 4)
                self.failed(error)
            except Exception as error:  # no answer may end the mirror
                failures = min(failures + 1, 4)
                LOG.exception("Looking at %s failed.", self.api.name)
                self.failed(
                    Unavailable(f"Unexpected {type(error).__name__}; see the mirror's log.")
                )
            else:
                if before is not None and self._trouble is None:
                    LOG.info("%s of cloud %s answers again.", self.api.name, self._cloud.name)

    def _nothing(self, listing: Listing) -> list[str]:
        """Return the sentence for an API of which no service is known, if it is one."""
        if listing.services or listing.nameless or len(self._tracker):
            return []
        return [f"{self.api.name} of cloud {self._cloud.name} {NOTHING}"]

    def _incomplete(self, unsure: int) -> str:
        of = f"{self.api.name} of cloud {self._cloud.name}"
        if unsure:
            return f"{of} cannot tell of {unsure} services, which stay as they are here"
        return f"{of} lists no service any more; those that it had stay as they are here"

    def _say(self, sentences: Sequence[str]) -> None:
        """Log each of these once."""
        for sentence in sentences:
            if sentence not in self._said:
                LOG.warning("%s", sentence)
                self._said.add(sentence)
        if len(self._said) > MOST_SAID:
            self._said.clear()
