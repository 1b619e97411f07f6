"""A process of services that writes down what it does, in the history of ``NEMESIS_HISTORY``.

``join ZONE BINARY HOST…`` joins each host through the library, and leaves when terminated.
Anything else is the arguments of the real command, so ``agent --host …`` is an agent. Only the
doors to the outside are wrapped: the client of reports, the heartbeat of drivers, and the line of a
session.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import servicegroup
from nemesis.lines import CountingFrames, RecordingLine
from nemesis.noting import ended, leaving, lives, proven, record, refusal
from promises.history import Joined
from servicegroup import Membership, driver
from servicegroup.agent import join as agent
from servicegroup.agent import line, websocket
from servicegroup.agent.client import HttpClient
from servicegroup.agent.client import Joined as Answer
from servicegroup.driver import Driver, load
from servicegroup.messages import Leave, Refusals, Report, Reported
from servicegroup.model import Member
from servicegroup.names import topic_of, zone_of


class RecordingClient(HttpClient):
    """Reports over HTTP, and writes down what was answered when."""

    def register(self, host: str, binary: str, group: str, zone: str, version: int) -> Answer:
        asked = time.monotonic()
        answer = super().register(host, binary, group, zone, version)
        topic = group or topic_of(binary)
        joined = Joined(
            host=host,
            binary=binary,
            group=topic,
            zone=zone or zone_of(topic),
            uuid=answer.uuid,
            incarnation=answer.incarnation,
            asked=asked,
            answered=time.monotonic(),
        )
        lives[answer.uuid, answer.incarnation] = joined
        record(joined)
        return answer

    def report(self, reports: Sequence[Report]) -> Reported:
        sent = time.monotonic()
        unanswered, answer = self.unanswered, None
        try:
            answer = super().report(reports)
        finally:
            for report in reports:
                life = lives[report.uuid, report.incarnation]
                if answer and self.unanswered != unanswered:
                    # Another control plane was asked first, and may commit it yet.
                    proven(life, "report", sent, acknowledged=False)
                refused = refusal(answer, report.uuid)
                proven(life, "report", sent, acknowledged=bool(answer), refused=refused)
        return answer

    def leave(self, leaves: Sequence[Leave]) -> Refusals:
        asked = [
            leaving.setdefault((one.uuid, one.incarnation), time.monotonic()) for one in leaves
        ]
        answer = None
        try:
            answer = super().leave(leaves)
        finally:
            for leave, since in zip(leaves, asked, strict=True):
                if not refusal(answer, leave.uuid):
                    answered = "exited" if leave.how == "exited" else "left"
                    life = lives[leave.uuid, leave.incarnation]
                    ended(life, answered if answer else "killed", since)
        return answer


def load_recording(name: str, options: Mapping[str, Any] | None = None) -> Driver:
    """Return a driver as ``servicegroup.driver.load`` does, whose heartbeats are written down."""
    loaded = load(name, options)
    beat = loaded.heartbeat

    def heartbeat(member: Member, incarnation: int, ttl: float) -> None:
        with attempt(member, incarnation):
            beat(member, incarnation, ttl)

    loaded.heartbeat = heartbeat  # type: ignore[method-assign]
    return loaded


@contextmanager
def attempt(member: Member, incarnation: int) -> Iterator[None]:
    """Write down the heartbeat that is tried in the block."""
    sent = time.monotonic()
    acknowledged = False
    try:
        yield
        acknowledged = True
    finally:
        own = (j for j in reversed(lives.values()) if Member(j.group, j.host) == member)
        life = next(joined for joined in own if joined.incarnation == incarnation)
        proven(life, "heartbeat", sent, acknowledged=acknowledged)


def stay(members: list[Membership]) -> None:
    """Wait to be terminated, and leave."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})
    with ThreadPoolExecutor(len(members)) as hands:
        list(hands.map(Membership.leave, members))


def main() -> None:
    """Be the process that the arguments say."""
    vars(agent)["HttpClient"] = RecordingClient
    vars(driver)["load"] = load_recording
    vars(line)["Line"] = RecordingLine
    vars(websocket)["Frames"] = CountingFrames
    word, *arguments = sys.argv[1:]
    if word == "join":
        zone, binary, *hosts = arguments
        stay([servicegroup.join(binary, host=host, zone=zone) for host in hosts])
        return
    from servicegroup.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
