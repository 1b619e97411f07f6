"""What this process measures, for Prometheus: its intake, sessions, backends and observer.

Each part counts for itself, in plain numbers and distributions; here they get their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from servicegroup.controlplane.clients import Clients
from servicegroup.controlplane.detection_times import Detections
from servicegroup.controlplane.intake import Intake
from servicegroup.controlplane.metrics.families import (
    counter,
    counters,
    gauge,
    gauges,
    histogram,
    histograms,
)
from servicegroup.controlplane.observer_loop import ObserverLoop
from servicegroup.controlplane.sessions import Sessions
from servicegroup.measuring import Questions


def of_intake(intake: Intake) -> Iterator[Metric]:
    """Return how reports are taken and committed."""
    done = intake.statistics
    yield counter("intake_reports", "Reports of batches that were committed.", done.reports)
    yield histogram("intake_batch_reports", "Reports of each committed batch.", done.batches)
    yield histogram("intake_commit_seconds", "How long commits took.", done.commit_seconds)
    yield counter(
        "intake_failed_commits", "Batches that could not be committed.", done.failed_commits
    )
    yield counter(
        "intake_refused_requests",
        "Requests refused as too many or too late.",
        done.refused_requests,
    )
    yield counters(
        "intake_refused_reports", "Reports that stamped nothing.", "cause", done.refused_reports
    )
    yield gauge("intake_waiting", "Reports that wait for their commit now.", intake.waiting)
    age = intake.last_commit_age
    yield gauge("intake_last_commit_age_seconds", "Seconds since the latest commit.", age)


def of_sessions(sessions: Sessions) -> Iterator[Metric]:
    """Return who holds a session here, and how sessions began and ended."""
    yield gauge("sessions", "Services that hold a session here now.", sessions.held)
    yield counter("sessions_opened", "Sessions that were opened here.", sessions.opened)
    yield counters("sessions_ended", "Sessions that ended here.", "cause", sessions.ended)
    yield gauge(
        "sessions_unwritten_ends",
        "Ends of sessions that the record does not have yet.",
        sessions.commits.pending_ends,
    )
    yield counter(
        "sessions_failed_commits",
        "Attempts to write sessions that failed.",
        sessions.commits.failures,
    )


def of_clients(clients: Clients) -> Iterator[Metric]:
    """Return who is connected, and who was refused or cut off for which limit."""
    yield gauge("connections", "Connections of clients now.", clients.connections)
    yield counters(
        "limited_clients",
        "Requests and connections refused or cut off by a limit.",
        "limit",
        clients.refused,
    )


def of_backends(asked: Mapping[str, Questions]) -> Iterator[Metric]:
    """Return how drivers answered who is present; a driver without a signal is not asked."""
    yield histograms(
        "backend_question_seconds",
        "How long questions to a backend took.",
        "driver",
        {driver: questions.seconds for driver, questions in asked.items()},
    )
    yield counters(
        "backend_unknown_answers",
        "Answers that did not say whether a member is present.",
        "driver",
        {driver: questions.unknown for driver, questions in asked.items()},
    )
    yield counters(
        "backend_unanswered_questions",
        "Questions without an answer for any member.",
        "driver",
        {driver: questions.unanswered for driver, questions in asked.items()},
    )


def of_observer(observer_loop: ObserverLoop) -> Iterator[Metric]:
    """Return what the observer of this process did, and how quickly it found failures."""
    yield gauge("observes", "Whether this process observes (1 or 0).", observer_loop.observes)
    yield histogram("observer_look_seconds", "How long looks took.", observer_loop.look_seconds)
    yield counters("observer_events", "Events that looks recorded.", "kind", observer_loop.recorded)
    yield counters(
        "observer_failures",
        "Attempts at the observer's work that failed.",
        "work",
        {work: recurring.failures for work, recurring in observer_loop.recurring.items()},
    )
    yield from _of_detections(observer_loop.detections)


def _of_detections(detections: Detections) -> Iterator[Metric]:
    yield histograms(
        "detection_seconds",
        "From the last report of a service to the record of its failure.",
        "reason",
        detections.seconds,
    )
    yield gauges(
        "detection_limit_seconds",
        "What a detection takes at the most.",
        "reason",
        detections.limits(),
    )
    yield counters(
        "late_detections", "Detections that took longer than that.", "reason", detections.late
    )
