"""Two threads that compare at once: each has the ages of its own answer."""

from __future__ import annotations

from pathlib import Path

import msgspec

from drivers.reference import Reference, ReferenceOptions
from servicegroup.comparison import Comparison
from servicegroup.group import ServiceGroup
from servicegroup.judging import Judge
from servicegroup.messages import Report


def test_what_is_remembered_may_be_replaced_while_an_answer_is_made(
    group: ServiceGroup, tmp_path: Path
) -> None:
    life = group.join("h1", "nova-compute")
    group.report([Report(life.uuid, 1)])
    group.update(life.uuid, forced_down=True)
    listening = group._store.listening()
    services = [msgspec.structs.replace(s, forced_down=False) for s in group.services()]
    shadow = Judge(Reference(ReferenceOptions(directory=str(tmp_path / "shadow"))), group.limits)

    class Racing(Comparison):
        """Has what it wrote replaced at once."""

        def __setattr__(self, name: str, value: object) -> None:
            object.__setattr__(self, name, {} if name == "_since" else value)

    found = Racing(shadow, lambda: 0.0).of("db", services, listening)
    assert [d.seconds for d in found.disagreements] == [0.0]
