"""Two threads that compare at once: each has the ages of its own answer."""

from __future__ import annotations

from pathlib import Path

import msgspec

from drivers.reference import Reference, ReferenceOptions
from servicegroup.comparison import Comparison, is_undetermined
from servicegroup.group import ServiceGroup
from servicegroup.judging import Judge
from servicegroup.liveness import judge
from servicegroup.messages import Report
from servicegroup.model import Evidence, Limits, Presence, PresenceState, Reason
from servicegroup.rpc import Rpc, RpcState


def test_what_is_remembered_may_be_replaced_while_an_answer_is_made(
    group: ServiceGroup, tmp_path: Path
) -> None:
    life = group.join("h1", "nova-compute")
    group.report([Report(life.uuid, 1)])
    group.update(life.uuid, forced_down=True)
    listening = group._store.snapshot().listening
    services = [msgspec.structs.replace(s, forced_down=False) for s in group.services()]
    shadow = Judge(Reference(ReferenceOptions(directory=str(tmp_path / "shadow"))), group.limits)
    answers = shadow.ask(services)

    class Racing(Comparison):
        """Has what it wrote replaced at once."""

        def __setattr__(self, name: str, value: object) -> None:
            object.__setattr__(self, name, {} if name == "_since" else value)

    found = Racing(shadow, lambda: 0.0).of("db", services, listening, answers)
    assert [d.seconds for d in found.disagreements] == [0.0]


def test_who_is_deaf_is_undetermined_only_where_the_driver_cannot_tell() -> None:
    """F-40: that a service answers no RPC says nothing of the driver it is compared by."""
    for state, undetermined in ((PresenceState.UNKNOWN, True), (PresenceState.PRESENT, False)):
        verdict = judge(
            Evidence(Limits(), 1.0, presence=Presence(state), rpc=Rpc(RpcState.DEAF, 1.0, 1.0))
        )
        assert verdict.reason is Reason.DEAF
        assert is_undetermined(verdict) is undetermined
