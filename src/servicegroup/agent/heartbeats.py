"""The second signal: keeps one incarnation of a member present in one driver's backend.

It has a thread of its own, so that neither a report that hangs nor another backend delays it
(AND-3). The driver is loaded in that thread, so a missing library is a lost path, not a crash.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from servicegroup.agent.health import one_line
from servicegroup.agent.heart import Heart
from servicegroup.errors import ServiceGroupError

if TYPE_CHECKING:
    from servicegroup.agent.client import DriverSettings, Joined
    from servicegroup.agent.health import Health
    from servicegroup.driver import Driver
    from servicegroup.model import Member


def own_options(settings: DriverSettings, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the options the control plane named, with this host's own on top.

    Secrets and paths never come over the wire; ``OS_ETCD__PASSWORD`` sets ``password`` of driver
    ``etcd`` here, as it would for the control plane.
    """
    prefix = f"OS_{settings.name.upper()}__"
    own = {
        name.removeprefix(prefix).lower(): value
        for name, value in environment.items()
        if name.startswith(prefix)
    }
    return {**settings.options, **own}


def refusal(heartbeats: Iterable[Heartbeats]) -> str | None:
    """Return what keeps a service out of a backend, first of the one that is obeyed."""
    obeyed_first = sorted(heartbeats, key=lambda one: one.settings.shadow)
    return next((one_line(one.error) for one in obeyed_first if one.error), None)


class Heartbeats:
    """Heartbeats to one driver's backend from ``start`` to ``stop``, then leaves it."""

    def __init__(
        self,
        who: str,
        settings: DriverSettings,
        member: Member,
        joined: Joined,
        health: Health,
        former: Heartbeats | None = None,
    ) -> None:
        """Prepare; nothing is loaded or sent before ``start``.

        ``former`` is a handle on the same backend, which goes on until this one has joined: where
        the end of a handle ends its membership, the member would be absent in between (ZK-1).
        """
        self.settings = settings
        self.heart = Heart(who, f"driver {settings.name}", self._beat, joined.heartbeat_interval)
        self._member = member
        self._joined = joined
        self._health = health
        self._former = former
        self._driver: Driver | None = None
        self._present: int | None = None
        self._present_at = 0.0
        self._leaving = True
        self._turn = threading.Lock()
        self._thread = threading.Thread(
            target=self._run, name=f"servicegroup-{settings.name}", daemon=True
        )

    @property
    def error(self) -> str:
        """What the backend, or the way to it, said last; empty while heartbeats succeed."""
        return self.heart.error if self.heart.is_lost else ""

    def start(self) -> None:
        """Begin, in a daemon thread, unless that was done."""
        if self._thread.ident is None:
            self._thread.start()

    def renew(self, joined: Joined) -> None:
        """Go on as another incarnation, from the next heartbeat."""
        self._joined = joined
        self.heart.interval = joined.heartbeat_interval
        if former := self._former:
            former.renew(joined)

    def stop(self, *, leaving: bool = True) -> None:
        """End without waiting for it; the backend is left, or the membership merely expires."""
        self._leaving = leaving
        self.heart.stop()
        if former := self._former:
            former.stop(leaving=leaving)

    def wait(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the backend was left."""
        deadline = time.monotonic() + timeout
        self._thread.join(max(0.0, timeout))
        if former := self._former:
            former.wait(deadline - time.monotonic())

    def _run(self) -> None:
        self.heart.run()
        if self._driver is None:
            return
        with self._turn:
            # The backend forgets who cannot say goodbye by itself, after the time to live.
            with contextlib.suppress(ServiceGroupError):
                if self._leaving:
                    self._leave(self._driver)
            self._driver.close()

    def _beat(self) -> None:
        with self._turn:
            if not self.heart.is_stopping:  # else a successor has joined meanwhile
                self._keep_present()

    def _keep_present(self) -> None:
        driver = self._driver or self._load()
        joined = self._joined
        if self._health.answer(joined.report_interval) is not None:
            self._withhold(driver, joined.membership_ttl)
            return
        if self._present != joined.incarnation:
            self._leave(driver)
        # Recorded first: a heartbeat that failed half-way may have joined all the same.
        self._present, self._present_at = joined.incarnation, time.monotonic()

        def join() -> None:
            driver.heartbeat(self._member, joined.incarnation, joined.membership_ttl)

        join()
        if former := self._former:
            former.give_way(join)
            self._former = None

    def give_way(self, join: Callable[[], None]) -> None:
        """End once ``join`` has succeeded, with no heartbeat of this handle in between or after.

        One that was under way may have taken the member over again, and the end of this handle
        would end it (ZK-1, ET-1). Leaving would undo what has just been joined. Raises what
        ``join`` does, and then goes on.
        """
        with self._turn:
            if former := self._former:
                former.give_way(join)
            else:
                join()
            self.stop(leaving=False)

    def _load(self) -> Driver:
        from servicegroup.driver import load

        self._driver = load(self.settings.name, own_options(self.settings, os.environ))
        return self._driver

    def _withhold(self, driver: Driver, ttl: float) -> None:
        """Let the membership end after ``ttl``, also where the backend ends it with the process."""
        if time.monotonic() - self._present_at > ttl:
            self._leave(driver)

    def _leave(self, driver: Driver) -> None:
        if self._present is not None:
            driver.leave(self._member, self._present)
            self._present = None


def renewed(
    current: Iterable[Heartbeats], who: str, member: Member, joined: Joined, health: Health
) -> list[Heartbeats]:
    """Return the heartbeats to the drivers that the control plane names; others are stopped.

    A driver that merely became, or ceased to be, the shadow goes on undisturbed. What is new has to
    be started.
    """
    wanted = {(one.name, msgspec.json.encode(one.options)): one for one in joined.drivers}
    names = {one.name for one in joined.drivers}
    kept, former = {}, {}
    for heartbeats in current:
        name = heartbeats.settings.name
        key = (name, msgspec.json.encode(heartbeats.settings.options))
        if key in wanted:
            kept[key] = heartbeats
            heartbeats.renew(joined)
        elif name in names:
            former[name] = heartbeats  # until another handle on the same backend has joined
        else:
            heartbeats.stop()
    new = [
        Heartbeats(who, settings, member, joined, health, former.get(settings.name))
        for key, settings in wanted.items()
        if key not in kept
    ]
    return [*kept.values(), *new]
