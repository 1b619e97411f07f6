"""A hold without an answer may have been written, and then it is the one that counts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from servers.process import LOOPBACK, PATIENCE
from servicegroup.agent.client import Joined
from servicegroup.agent.control_planes import ControlPlanes
from servicegroup.agent.health import Health
from servicegroup.agent.line import Line
from servicegroup.agent.session import SessionHeartbeats
from servicegroup.keepalive import Keepalive
from support.waiting import until

JOINED = Joined(
    report_interval=60,
    service_down_time=300,
    heartbeat_interval=0.1,
    membership_ttl=10,
    uuid="3f1c7f0e-0000-4000-8000-000000000000",
    incarnation=1,
)


class Other:
    """The other end of sessions: notes the numbers of holds, and answers while it ``answers``."""

    def __init__(self) -> None:
        self.answers = True
        self.numbers: deque[int] = deque()
        self.lines: list[ServerConnection] = []

    def talk(self, line: ServerConnection) -> None:
        self.lines.append(line)
        with suppress(ConnectionClosed):
            for message in line:
                (hold,) = msgspec.json.decode(message)["hold"]
                self.numbers.append(hold["number"])
                if self.answers:
                    self.say(line, {"held": {}})

    @staticmethod
    def say(line: ServerConnection, said: Any) -> None:
        line.send(msgspec.json.encode(said).decode())


@pytest.fixture
def others() -> Iterator[dict[str, Other]]:
    """Give two ends, by the URL of each."""
    with ExitStack() as stack:
        found = {}
        for other in (Other(), Other()):
            server = stack.enter_context(serve(other.talk, LOOPBACK, 0))
            stack.callback(threading.Thread.join, run(server.serve_forever), PATIENCE)
            stack.callback(server.shutdown)
            found[f"http://{LOOPBACK}:{server.socket.getsockname()[1]}"] = other
        yield found


def run(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@contextmanager
def held(urls: str) -> Iterator[SessionHeartbeats]:
    """Hold the session of one life."""
    with closing(ControlPlanes(urls)) as planes:
        health = Health("the service", None)
        health.ask()
        session = SessionHeartbeats("it", Keepalive(), JOINED, health, planes, lambda: None)
        session.start()
        try:
            yield session
        finally:
            session.stop()
            session.wait(PATIENCE)


def test_after_a_hold_without_an_answer_elsewhere_it_is_held_anew_here(
    others: dict[str, Other],
) -> None:
    with held(",".join(others)):
        one, other = others.values()
        until(lambda: one.numbers or other.numbers, PATIENCE)
        here, there = (one, other) if one.numbers else (other, one)
        there.answers = False
        here.say(here.lines[0], {"drain": "database"})
        until(lambda: there.numbers, PATIENCE)
        until(lambda: here.numbers[-1] > there.numbers[0], PATIENCE)


def test_who_does_not_answer_a_hold_is_passed_over(others: dict[str, Other]) -> None:
    """As a control plane that accepts connections while it alone has no database."""
    one, other = others.values()
    one.answers = other.answers = False
    with held(",".join(others)) as session:
        until(lambda: one.numbers or other.numbers, PATIENCE)
        there = other if one.numbers else one
        there.answers = True
        until(lambda: session.heart.last_success, PATIENCE)
        assert there.numbers
        there.lines[0].close()
        until(lambda: len(there.lines) > 1, PATIENCE)
        beats = session.heart.beats
        until(lambda: session.heart.beats > beats + 5, PATIENCE)
        assert len(there.lines) == 2, "no line is given up that had no time to answer"


def test_the_others_have_the_time_of_the_one_that_ended_it(
    others: dict[str, Other], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LC-8: it refuses at once, and a whole fleet comes to those that are left."""
    tried: deque[tuple[str, float]] = deque()
    real = Line.open

    def open_line(plane: Any, headers: Any, keepalive: Any, timeout: float) -> Line:
        tried.append((plane.url, timeout))
        return real(plane, headers, keepalive, timeout)

    monkeypatch.setattr(Line, "open", open_line)
    patience = JOINED.membership_ttl / 2
    with held(",".join(others)):
        until(lambda: any(other.numbers for other in others.values()), PATIENCE)
        [here] = [url for url, other in others.items() if other.numbers]
        [there] = others.keys() - {here}
        assert tried.popleft() == (here, patience / 2), "both have the same"
        until(lambda: others[here].lines, PATIENCE)[0].close()
        until(lambda: others[there].numbers, PATIENCE)
        assert tried.popleft() == (there, patience)
        assert not tried
