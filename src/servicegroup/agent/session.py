"""The agent's session: a line to a control plane whose end tells that this process has died.

So a line is always open somewhere. When it ends, when the other side is silent or asks to go, the
next one is opened at once, on another control plane where there are several. Reports go over it
while it is open. One thread holds it, and is not delayed by a report that hangs (AND-3).
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
import zlib
from typing import TYPE_CHECKING

from servicegroup.agent.heart import Heart
from servicegroup.errors import ControlPlaneUnavailable, ServiceGroupError
from servicegroup.messages import Drain, Held, Hold, Reported
from servicegroup.polling import poller

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servicegroup.agent.client import Joined
    from servicegroup.agent.connection import Connection
    from servicegroup.agent.control_planes import ControlPlanes
    from servicegroup.agent.health import Health
    from servicegroup.agent.line import Line
    from servicegroup.keepalive import Keepalive
    from servicegroup.messages import Report

log = logging.getLogger("servicegroup.agent")

_SHORTEST = 1.0
"""Seconds that any control plane has at the least to open a session, or to answer in it."""

_TRY_AGAIN = 60.0
"""Seconds after which a way that lets no session through is tried again, at the latest.

It is tried sooner at first: a proxy may just have found no control plane while one restarts.
"""


class _Listening:
    """What the heart waits on: it ends when the line says something, and when it is stopped."""

    def __init__(self, listen: Callable[[float, int], bool]) -> None:
        self._listen = listen
        self._stopped = threading.Event()
        self._stopping = threading.Lock()
        self._wake, self._woken = os.pipe()

    def wait(self, timeout: float, /) -> bool:
        """Listen for so long at the most, and tell whether to stop."""
        deadline = time.monotonic() + timeout
        while not self._stopped.is_set() and (left := deadline - time.monotonic()) > 0:
            if self._listen(left, self._wake):
                break
        return self._stopped.is_set()

    def set(self) -> None:
        """Stop."""
        with self._stopping:
            if not self._stopped.is_set():
                os.write(self._woken, b"x")  # first: once it has stopped, the pipe is closed
                self._stopped.set()

    def ring(self) -> None:
        """End this wait, or the next one."""
        with self._stopping:
            if not self._stopped.is_set():
                os.write(self._woken, b"x")

    def is_set(self) -> bool:
        """Tell whether to stop."""
        return self._stopped.is_set()

    def close(self) -> None:
        """Close what it waits on."""
        os.close(self._wake)
        os.close(self._woken)


class SessionHeartbeats:
    """Holds a session for one service, from ``start`` to ``stop``."""

    def __init__(
        self,
        who: str,
        keepalive: Keepalive,
        joined: Joined,
        health: Health,
        planes: ControlPlanes,
        report_now: Callable[[], None],
        *,
        answers: bool = False,
    ) -> None:
        """Prepare; nothing is opened before ``start``.

        ``report_now`` has the next report sent at once: its answer says what to do. ``answers``
        says that ``answer`` is called from where the service works.
        """
        self.keepalive = keepalive
        self._who = who
        self._joined = joined
        self._health = health
        self._planes = planes
        self._report_now = report_now
        self._answers = answers
        self._listening = _Listening(self._listen)
        self.heart = Heart(
            who, "its session", self._beat, joined.heartbeat_interval, stop=self._listening
        )
        self._line: Line | None = None
        self._left: str | None = None
        self._held: tuple[int, Line | None] | None = None
        self._held_at = 0.0
        self._number = (0, 0)
        self._order = zlib.crc32(joined.uuid.encode())
        self._no_tunnel: tuple[float, ControlPlaneUnavailable] | None = None
        self._pause = _SHORTEST
        self._thread = threading.Thread(target=self._run, name="servicegroup-session", daemon=True)

    def start(self) -> None:
        """Begin, in a daemon thread."""
        self._thread.start()

    def renew(self, joined: Joined, keepalive: Keepalive) -> None:
        """Go on as another incarnation, or under other terms, from the next heartbeat."""
        self._joined, self.keepalive = joined, keepalive
        self.heart.interval = joined.heartbeat_interval

    def stop(self) -> None:
        """End without waiting for it."""
        self.heart.stop()

    def wait(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the line was closed."""
        self._thread.join(max(0.0, timeout))

    def answer(self) -> None:
        """Have answered what was asked, if anything was; waits for nothing."""
        line = self._line
        if line is not None and line.questions:
            line.answers, line.questions = line.questions, []
            self._listening.ring()

    def report(self, reports: Sequence[Report], timeout: float) -> Reported | None:
        """Return the answer to reports, None where no line is open or none came.

        Raises Busy, Forbidden, InvalidInput.
        """
        line = self._line
        if line is None:
            return None
        try:
            answer = line.taken(line.ask({"reports": reports}), timeout)
        except ControlPlaneUnavailable as error:
            if getattr(error, "retry_after", None) is not None:
                raise
            return None
        return answer if type(answer) is Reported else None

    # -- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        self.heart.run()
        self._drop()
        self._listening.close()

    def _beat(self) -> None:
        """Show that this process lives; open a line first where there is none to rely on."""
        joined = self._joined
        line = self._line
        if line is None or self._is_dead(line) or line.draining is not None:
            line = self._change()
        if self._health.answer(joined.report_interval) is not None:
            self._withhold(line, joined)
        elif self._held != (joined.incarnation, line):
            self._hold(line, joined)
        else:
            self._held_at = time.monotonic()
        if line.answers:
            answers, line.answers = line.answers, []
            line.ask({"answers": answers})
        line.ping()

    def _is_dead(self, line: Line) -> bool:
        """Tell whether the other side has not answered since the last heartbeat.

        After one that took long the next comes at once: there was no time to answer, or to read.
        """
        longest = self._joined.heartbeat_interval / 2
        if line.silence > longest:
            with contextlib.suppress(ServiceGroupError):
                line.read(0.0)
        return line.silence > longest

    def _change(self) -> Line:
        """Open a line, elsewhere if possible, and only then close the one there was.

        Returns the one to go on with.
        """
        former = self._line
        if former is not None and self._is_dead(former):
            self._drop()  # nobody is there to say goodbye to
        elif former is not None:
            former.ping()  # the attempt may take as long as one may be silent
        try:
            line = self._open(former)
        except ServiceGroupError:
            if former is None or self._line is None:
                raise
            if former.draining == Drain.STOPPING:
                self._drop()
                raise
            return former  # it lives, and nobody else does
        self._line = line
        if former is not None:
            former.close()
        return line

    def _open(self, former: Line | None) -> Line:
        """Return a line to the first control plane that opens one and lets the session be held.

        The one that the last line was to is the last, and the others have its share of the time:
        whoever dies refuses at once, and a whole fleet comes to those that are left (LC-8).
        """
        from servicegroup.agent.line import Line, NoTunnel

        if self._no_tunnel is not None and time.monotonic() < self._no_tunnel[0]:
            raise self._no_tunnel[1]
        left = self._left if former is None else former.url
        planes = self._in_order(left)
        others = sum(plane.url != left for plane in planes)
        share = self._patience() / (others or 1)
        failure = ControlPlaneUnavailable("")
        for plane in planes:
            timeout = _SHORTEST if others and plane.url == left else max(_SHORTEST, share)
            try:
                line = Line.open(plane, self._planes.headers(), self.keepalive, timeout)
                self._no_tunnel, self._pause = None, _SHORTEST
                self._begin(line)
            except ControlPlaneUnavailable as error:
                failure = error
                continue
            return line
        self._left = None
        if isinstance(failure, NoTunnel):
            if self._no_tunnel is None and self.heart.is_lost:
                log.warning("%s: %s", self._who, failure)  # another reason was told before
            self._no_tunnel = (time.monotonic() + self._pause, failure)
            self._pause = min(_TRY_AGAIN, 2 * self._pause)
        raise failure

    def _patience(self) -> float:
        """Return the seconds that one attempt at all control planes may take.

        It is half of ``membership_ttl``, so that there is time for another one, and longer the
        longer there has been no session: a control plane that a whole fleet comes to answers late,
        and who gives up earlier only comes again (LC-8).
        """
        ttl, since = self._joined.membership_ttl, self.heart.lost_since
        without = 0.0 if since is None else time.monotonic() - since
        return max(self._joined.heartbeat_interval, ttl / 2, min(without, ttl))

    def _begin(self, line: Line) -> None:
        """Hold the session on a new line, unless the service does not work; close it on failure."""
        try:
            if self._health.answer(self._joined.report_interval) is None:
                self._hold(line, self._joined)
        except BaseException:
            line.close()
            raise

    def _in_order(self, left: str | None) -> list[Connection]:
        """Return the control planes in this service's own order: a fleet spreads over them."""
        planes = sorted(self._planes.connections, key=lambda plane: plane.url)
        first = self._order % len(planes)
        planes = planes[first:] + planes[:first]
        return sorted(planes, key=lambda plane: plane.url == left)

    def _hold(self, line: Line, joined: Joined) -> None:
        """Hold the session of this life on a line, as the newest there is.

        Until its answer no line is known to hold it: one that was given up may be written all the
        same, and then what another line held before counts no more.
        """
        self._held = (joined.incarnation, None)
        incarnation, number = self._number
        number = number if incarnation == joined.incarnation else 0
        timeout = max(_SHORTEST, self._patience())
        for _ in range(2):
            number += 1
            self._number = (joined.incarnation, number)
            life = Hold(joined.uuid, joined.incarnation, number, self._answers)
            answer = line.answer(line.ask({"hold": [life]}), timeout)
            if not isinstance(answer, Held) or joined.uuid not in answer.outdated:
                break
            number = answer.outdated[joined.uuid]
        self._held, self._held_at = (joined.incarnation, line), time.monotonic()
        refused = (answer.deleted, answer.superseded, answer.left, answer.unknown)
        if answer.terms != joined.fingerprint or any(joined.uuid in kind for kind in refused):
            self._report_now()

    def _withhold(self, line: Line, joined: Joined) -> None:
        """Give the session up once the service has not worked for ``membership_ttl``."""
        if self._held is not None and time.monotonic() - self._held_at > joined.membership_ttl:
            life = {"uuid": joined.uuid, "incarnation": self._held[0]}
            line.answer(line.ask({"release": [life]}), joined.heartbeat_interval)
            self._held = None

    def _listen(self, seconds: float, wake: int) -> bool:
        """Wait for what the line says; return whether something is to be done at once."""
        line = self._line
        poll = poller()
        poll.register(wake, select.POLLIN)
        if line is not None:
            poll.register(line, select.POLLIN)
        ready = {number for number, _ in poll.poll(1000 * seconds)}
        if wake in ready:
            os.read(wake, 64)
            return True
        if line is None or line.fileno() not in ready:
            return False
        asked_to_go = line.draining
        try:
            line.read(0.0)
        except ServiceGroupError as error:
            log.debug("%s: %s", self._who, error)
            self._drop()
            return True
        if line.has_news:
            line.has_news = False
            self._report_now()
        return line.draining != asked_to_go

    def _drop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            self._left = line.url
            line.close()
