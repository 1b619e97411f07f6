"""A driver whose threads run on where eventlet's stop between two requests (F-45).

uWSGI and mod_wsgi wait for requests outside of Python. With eventlet nothing else runs meanwhile:
what a connection tells lies unread, and no ping keeps the connection. So a driver that is told of
changes works in a native thread of its own, in which eventlet gives turns all the time, and whoever
asks it waits for that thread.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import TypeVar

import msgspec

from servicegroup.driver import Driver, GroupPresence, Watcher
from servicegroup.green import do_threads_stop_between_requests, native_threading
from servicegroup.model import Limits, Member, Presence, PresenceState
from servicegroup.nova.evictions import PendingEvictions
from servicegroup.per_process import PerProcess

T = TypeVar("T")


class _Thread:
    """A native thread that does calls, each in a thread of eventlet's so that none waits."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._reading, self._writing = socket.socketpair()
        native = native_threading()
        self._event = native.Event
        native.Thread(target=self._run, name="servicegroup-apart", daemon=True).start()

    def do(self, call: Callable[[], T]) -> T:
        """Return what the call returns, or raise what it raises."""
        results: list[T] = []
        errors: list[BaseException] = []
        done = self._event()

        def work() -> None:
            try:
                results.append(call())
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                errors.append(error)
            finally:
                done.set()

        self._calls.append(work)
        self._writing.send(b".")
        done.wait()
        for error in errors:
            raise error
        return results[0]

    def _run(self) -> None:
        while self._reading.recv(4096):  # while it waits, eventlet gives the others their turn
            while self._calls:
                threading.Thread(target=self._calls.popleft(), daemon=True).start()


class ApartDriver(Driver):
    """A driver in a native thread; made by ``apart``.

    A question to it costs microseconds more than one to memory, so it is asked for many members
    once a second, as drivers that cannot push are.
    """

    def __init__(self, driver: Driver) -> None:
        """Start the thread with the first call, in the process that calls."""
        super().__init__(driver.options)
        self.driver = driver
        self._threads = PerProcess(_Thread)

    def do(self, call: Callable[[], T]) -> T:
        """Have that thread do a call, and return what it returns."""
        return self._threads.get().do(call)

    def heartbeat(self, member: Member, incarnation: int, ttl: float) -> None:
        """Do as the driver."""
        self.do(lambda: self.driver.heartbeat(member, incarnation, ttl))

    def leave(self, member: Member, incarnation: int | None = None) -> None:
        """Do as the driver."""
        self.do(lambda: self.driver.leave(member, incarnation))

    def presence(self, members: Collection[Member]) -> dict[Member, Presence]:
        """Do as the driver."""
        return self.do(lambda: self.driver.presence(members))

    def prove(self, member: Member) -> None:
        """Do as the driver."""
        self.do(lambda: self.driver.prove(member))

    def list_group(self, group: str) -> GroupPresence | None:
        """Do as the driver, but do not list where a list does not tell who is absent.

        A driver that is asked as it pushes need not tell that in a list, since nobody reads one.
        """
        listed = self.do(lambda: self.driver.list_group(group))
        unknown = listed is None or listed.others.state is PresenceState.UNKNOWN
        return None if unknown else listed

    def server_of(self, member: Member) -> str:
        """Do as the driver, which asks nothing."""
        return self.driver.server_of(member)

    def watch(self, callback: Watcher) -> None:
        """Do nothing: it does not push."""

    def detection_time(self, ttl: float) -> float:
        """Do as the driver."""
        return self.do(lambda: self.driver.detection_time(ttl))

    def warnings(self) -> list[str]:
        """Do as the driver."""
        return self.do(self.driver.warnings)

    def close(self) -> None:
        """Do as the driver."""
        self.do(self.driver.close)


def apart(driver: Driver) -> Driver:
    """Return a driver that goes on between two requests, the same one where that goes without."""
    if not driver.capabilities.pushes or not do_threads_stop_between_requests():
        return driver

    class Apart(ApartDriver):
        name = driver.name
        capabilities = msgspec.structs.replace(driver.capabilities, pushes=False)

    return Apart(driver)


class Evictions:
    """What deletes owe a driver, paid in the thread in which the driver works."""

    def __init__(self, driver: Driver, limits: Limits) -> None:
        """See ``PendingEvictions``."""
        self._apart = driver if isinstance(driver, ApartDriver) else None
        self._pending = PendingEvictions(self._apart.driver if self._apart else driver, limits)

    def leave(self, member: Member, record: str) -> None:
        """Have the lives of a deleted record forgotten, soon; does not wait for a backend."""
        if self._apart is None:
            self._pending.leave(member, record)
        else:
            self._apart.do(lambda: self._pending.leave(member, record))
