"""What is seen at a glance is what the rule says, whatever is known of a service."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from servicegroup.batches import Batches
from servicegroup.driver import load
from servicegroup.judging import Judge
from servicegroup.liveness import Listening, Unheard
from servicegroup.model import Limits, OnUnknown, Presence, PresenceState, Reason, Service
from servicegroup.moments import NEVER, moment_of
from servicegroup.rpc import RpcLimits
from servicegroup.sessions import Session
from servicegroup.store.kept import Kept, Row
from servicegroup.store.memory import HOT, Stamped
from servicegroup.store.snapshots import Snapshot
from servicegroup.store.stamps import NO_SESSION, Fingerprint, Stamps
from servicegroup.store.store import Store

NOW = datetime(2026, 11, 1, 12)
LIMITS = Limits(report_interval=10, service_down_time=60)
DEAF_IS_DOWN = RpcLimits(interval=15, timeout=5, deaf_is_down=True)
DRIVERS = {
    "db": {},
    "session": {},
    "memcached": {"servers": "127.0.0.1:1"},  # which nobody connects to: its answers are given
}


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def service(**facts: object) -> Service:
    """Return a service of incarnation 3 that reported a second ago."""
    known: dict[str, object] = dict.fromkeys(Service.__struct_fields__)
    known |= {"id": 1, "uuid": "u", "host": "h", "binary": "b", "topic": "t", "zone": "z"}
    known |= {"version": 0, "incarnation": 3, "report_count": 1, "deleted": 0}
    known |= {"disabled": False, "forced_down": False}
    known |= {"created_at": ago(5000), "registered_at": ago(5000), "last_seen_up": ago(1)}
    known |= {"updated_at": ago(1)}
    return Service(**known | facts)  # type: ignore[arg-type]


def copied(snapshot: Snapshot) -> Snapshot:
    """Return the same, of which nothing is judged yet."""
    services = [msgspec.structs.replace(one, verdict=None) for one in snapshot.services]
    return msgspec.structs.replace(snapshot, services=services)


def kept(snapshot: Snapshot, silence: float) -> Stamped:
    """Return the same batch as a list on PostgreSQL reads it: rows that are kept, and columns."""
    rows, late, marked_at = [], [], []
    now = snapshot.listening.now
    for one in snapshot.services:
        hot = dict.fromkeys(HOT)
        rows.append(Row(0, msgspec.structs.replace(one, **hot), one.member))
        if not now - timedelta(seconds=silence) < (one.last_seen_up or one.created_at) <= now:
            late.append(one.id)
        session = snapshot.sessions.get(one.id)
        if session is None:
            marked_at.append(NO_SESSION)
        elif session.ended_at or session.deaf_since or session.marked_at is None:
            marked_at.append(NEVER)
        else:
            marked_at.append(moment_of(session.marked_at))
    updated_at = [moment_of(one.updated_at) for one in snapshot.services]
    stamps = Stamps(Fingerprint(len(rows), "0"), updated_at, late, marked_at)
    return Stamped(snapshot.listening, Kept(stamps.fingerprint, rows), stamps, snapshot.whole)


class Two:
    """The same services, seen at a glance by one judge and by the rule alone by another."""

    def __init__(self, driver: str, limits: Limits) -> None:
        clock = [0.0]
        self._clock = clock
        store = Store(create_engine("sqlite://"))
        # Each remembers stamps that were ahead: what one kind of batch shows must not help another.
        self._quick, self._by_columns, self._thorough = (
            Batches(
                store,
                Judge(load(driver, DRIVERS[driver]), limits, lambda: clock[0], rpc=DEAF_IS_DOWN),
            )
            for _ in range(3)
        )
        self._is_asked = driver == "memcached"
        self._silence = limits.service_down_time

    def see(
        self, one: Service, listening: Listening, session: Session | None, presence: Presence
    ) -> tuple[Reason, Reason]:
        """Return the reason by a glance where it suffices, and by the rule."""
        sessions = {} if session is None else {one.id: session}
        snapshot = Snapshot(listening, [msgspec.structs.replace(one)], sessions)
        answers = {one.member: presence} if self._is_asked else None
        (judged,) = self._thorough.judged(copied(snapshot), answers)
        reasons = set()
        columns = kept(copied(snapshot), self._silence)
        batches = ((self._quick, snapshot), (self._by_columns, columns))
        for quick, batch in batches:
            ((seen, state, updated_at),) = quick.stated(batch, answers).each()
            assert (seen.id, state, updated_at) == (
                one.id,
                judged.judged.state,
                moment_of(one.updated_at),
            )
            (reason,) = quick._at_a_glance(batch, answers)
            (whole,) = batch.whole([one.id]).services
            reasons.add(reason or whole.judged.reason)
        (reason,) = reasons
        return reason, judged.judged.reason

    def wait(self, seconds: float) -> None:
        self._clock[0] += seconds


around = st.sampled_from([0.0, 1.0, 9.0, 20.0, 59.999999, 60.0, 60.000001, 61.0, 500.0, -1.0])
stamps = around.map(ago)
maybe = st.none() | stamps
services = st.builds(
    service,
    forced_down=st.booleans(),
    departure=st.none() | st.sampled_from(["stopped", "exited"]),
    created_at=stamps,
    last_seen_up=maybe,
    updated_at=maybe,
    registered_at=stamps,
    incarnation=st.integers(1, 3),
    absent_since=maybe,
    held_since=maybe,
    observed_state=st.sampled_from([None, "up", "down"]),
    observed_since=stamps,
)
listenings = st.builds(
    Listening.of,
    st.just(NOW),
    maybe,
    st.lists(
        st.tuples(stamps, stamps).filter(lambda t: t[0] < t[1]).map(lambda t: Unheard(*t)),
        max_size=2,
    ),
    maybe,
    st.sampled_from([None, "db", "session", "memcached"]),
)
sessions = st.none() | st.builds(
    Session,
    opened_at=stamps,
    ended_at=maybe,
    cause=st.none(),
    plane=st.just("node9"),
    marked_at=maybe,
    asked_incarnation=st.none() | st.integers(1, 3),
    deaf_since=maybe,
    deaf_together=st.none() | st.booleans(),
)
presences = st.builds(
    Presence, st.sampled_from(PresenceState), st.frozensets(st.integers(1, 3), max_size=2)
)
looks = st.tuples(services, listenings, sessions, presences)
limits = st.builds(
    msgspec.structs.replace,
    st.just(LIMITS),
    on_unknown=st.sampled_from(OnUnknown),
    service_down_time=st.sampled_from([60, 60.0000004, 60.0000006]),
)
PRESENT = Presence(PresenceState.PRESENT, frozenset({3}))
UNKNOWN = Presence(PresenceState.UNKNOWN)
STRICT = msgspec.structs.replace(LIMITS, on_unknown=OnUnknown.DOWN)
PLAIN = (Listening(NOW, marked_at=NOW), None, PRESENT)
DEAF = Session(ago(100), None, None, "node9", ago(0.5), asked_incarnation=3, deaf_since=ago(20))


@settings(deadline=None)
@given(st.sampled_from(sorted(DRIVERS)), limits, st.lists(looks, max_size=3), around)
@example("db", LIMITS, [(service(forced_down=True), *PLAIN)], 0.0)
@example("db", LIMITS, [(service(departure="exited"), *PLAIN)], 0.0)
@example("db", LIMITS, [(service(last_seen_up=ago(61)), *PLAIN)], 0.0)
@example("db", LIMITS, [(service(last_seen_up=None, created_at=ago(61)), *PLAIN)], 0.0)
@example("memcached", LIMITS, [(service(incarnation=2), *PLAIN)], 0.0)
@example("memcached", LIMITS, [(service(absent_since=ago(0)), *PLAIN[:2], UNKNOWN)], 0.0)
@example("memcached", LIMITS, [(service(held_since=ago(9)), *PLAIN[:2], UNKNOWN)], 0.0)
@example("memcached", STRICT, [(service(), *PLAIN[:2], UNKNOWN)], 0.0)
@example("db", LIMITS, [(service(mirror="prod/nova", departure="told_down"), *PLAIN)], 0.0)
@example("memcached", LIMITS, [(service(mirror="prod/nova"), *PLAIN)], 0.0)
@example("session", LIMITS, [(service(), PLAIN[0], DEAF, PRESENT)], 0.0)
# The clock stepped back: the stamp that was ahead ages from when it was first seen (F-50, SQL-5).
@example("db", LIMITS, [(service(last_seen_up=ago(-1)), *PLAIN)] * 2, 61.0)
@example(
    "db",
    LIMITS,
    [
        (service(last_seen_up=ago(1), observed_state="down", observed_since=ago(-1)), *PLAIN),
        (service(last_seen_up=ago(1), observed_state="down", observed_since=ago(-1)), *PLAIN),
    ],
    61.0,
)
def test_a_glance_says_what_the_rule_says(
    driver: str,
    limits: Limits,
    looks: list[tuple[Service, Listening, Session | None, Presence]],
    pause: float,
) -> None:
    two = Two(driver, limits)
    for look in looks:
        at_a_glance, by_the_rule = two.see(*look)
        assert at_a_glance is by_the_rule
        two.wait(pause)


def test_the_clock_that_was_ahead_is_remembered_for_as_long_as_the_stamp_stays() -> None:
    """Its stamp lies behind the clock again, and is older than that by what the judge saw."""
    two = Two("db", LIMITS)
    ahead = service(last_seen_up=ago(-1))
    assert two.see(ahead, *PLAIN) == (Reason.REPORTING, Reason.REPORTING)
    two.wait(61)
    later = Listening(ago(-2), marked_at=ago(-2))
    assert two.see(ahead, later, None, PRESENT) == (Reason.SILENT, Reason.SILENT)


def test_most_need_no_evidence() -> None:
    """Else the property would hold of a glance that sees nothing."""
    expected = [
        ("db", None, Reason.REPORTING),
        ("memcached", PRESENT, Reason.PRESENT),
        ("memcached", UNKNOWN, Reason.UNCONFIRMED),
    ]
    for driver, answer, reason in expected:
        judge = Judge(load(driver, DRIVERS[driver]), LIMITS)
        batches = Batches(Store(create_engine("sqlite://")), judge)
        seen = service()
        answers = None if answer is None else {seen.member: answer}
        snapshot = Snapshot(PLAIN[0], [seen])
        for batch in (snapshot, kept(snapshot, LIMITS.service_down_time)):
            ((_, *rest),) = batches.stated(batch, answers).each()
            assert rest == ["up", moment_of(ago(1))]
            assert batches._at_a_glance(batch, answers) == [reason]
        assert seen.verdict is None
    held = Session(ago(100), None, None, "node9", ago(0.5))
    judge = Judge(load("session", {}), LIMITS)
    seen = service()
    batches = Batches(Store(create_engine("sqlite://")), judge)
    snapshot = Snapshot(PLAIN[0], [seen], {1: held})
    for batch in (snapshot, kept(snapshot, LIMITS.service_down_time)):
        assert batches._at_a_glance(batch, None) == [Reason.PRESENT]
