"""One control plane: its parts, and what runs for as long as it does."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from anyio import to_thread

from servicegroup.agent.join import Membership
from servicegroup.config import Ending
from servicegroup.controlplane.background import run_comparison, run_evictions
from servicegroup.controlplane.clients import Clients
from servicegroup.controlplane.ending import run_endings
from servicegroup.controlplane.feed import Feed
from servicegroup.controlplane.intake import Intake
from servicegroup.controlplane.metrics.collector import Metrics
from servicegroup.controlplane.observer import Observer
from servicegroup.controlplane.observer_loop import ObserverLoop
from servicegroup.controlplane.own_membership import join_itself
from servicegroup.controlplane.pauses import Pauses
from servicegroup.controlplane.questions import Questions
from servicegroup.controlplane.session_ends import follow_ends
from servicegroup.controlplane.session_news import tell_sessions
from servicegroup.controlplane.sessions import Sessions
from servicegroup.drivers.session import SessionDriver, SessionOptions
from servicegroup.events import KEEP, KEEP_OF_OPERATORS
from servicegroup.group import ServiceGroup
from servicegroup.protection import Thresholds

PATIENCE = 4.0
"""Seconds that stopping in order may take; a database that hangs would make it for ever (F-29)."""

LOG = logging.getLogger(__name__)


class Plane:
    """The parts of one control plane, for one event loop.

    With ``own_name`` it is itself a service of its register, on that host.
    """

    def __init__(
        self,
        group: ServiceGroup,
        intake: Intake,
        own_name: str = "",
        *,
        thresholds: Thresholds | None = None,
        keep_events: timedelta = KEEP,
        keep_of_operators: timedelta = KEEP_OF_OPERATORS,
        endings: Sequence[Ending] = (),
        clients: Clients | None = None,
    ) -> None:
        """Serve the register of ``group``, whose reports ``intake`` commits; nothing runs yet."""
        self.group = group
        self.intake = intake
        self.pauses = Pauses()
        self.feed = Feed(group)
        drivers = [driver for driver, _ in group.drivers() if isinstance(driver, SessionDriver)]
        self._session_driver = drivers[0] if drivers else SessionDriver(SessionOptions())
        self.keepalive = self._session_driver.options.keepalive
        self.sessions = Sessions(
            group.recorder().sessions(own_name or socket.gethostname()),
            group.limits.membership_ttl,
            self._session_driver.options.linger,
            self._session_driver.changed,
        )
        self.questions = Questions(
            self.sessions,
            group.judge.rpc,
            thresholds or Thresholds(),
            lambda: self.pauses.just_ended,
        )
        self._own_name = own_name
        self._endings = endings
        self._observer_loop = ObserverLoop(
            group, Observer(group, thresholds), self.feed.nudge, keep_events, keep_of_operators
        )
        self.metrics = Metrics(
            group, intake, self._observer_loop, self.feed, clients or Clients(), self.sessions
        )

    async def stop_serving(self) -> None:
        """Begin to stop: end what goes on for ever, and let sessions go elsewhere.

        Returns once each session was asked to.
        """
        self.feed.stop()
        await self.sessions.stop_accepting()

    @asynccontextmanager
    async def running(self, *beside: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Run the intake, the observer and what else recurs, with what is to run ``beside``.

        At the end another control plane may observe at once, and what was reported is committed.
        """
        self.intake.start()
        own = join_itself(self.group, self.intake, self._own_name) if self._own_name else None
        work = (
            run_evictions(self.group),
            run_comparison(self.group, lambda: self._observer_loop.observes),
            run_endings(
                self.group, self._endings, lambda: self._observer_loop.observes, self.feed.nudge
            ),
            self.pauses.watch(),
            self._observer_loop.run(),
            self.feed.run(),
            self.sessions.run(),
            self.questions.run(),
            tell_sessions(self.feed, self.sessions),
            follow_ends(self.group, self._session_driver, lambda: self._observer_loop.observes),
            *beside,
        )
        tasks = [asyncio.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._stop(own)
        except TimeoutError:
            LOG.warning("The database does not answer, and the control plane stops without it.")

    async def _stop(self, own: Membership | None) -> None:
        """Give back and write what is to be written, as long as the database takes it."""
        await self.sessions.commits.stop()
        await self._observer_loop.stop()
        if own is not None:
            await to_thread.run_sync(own.leave, abandon_on_cancel=True)
        await self.intake.stop()
