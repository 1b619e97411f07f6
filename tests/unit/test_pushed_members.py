"""What the observer's loop keeps of pushes until the next look."""

from __future__ import annotations

from servicegroup.controlplane.observer import Observer
from servicegroup.controlplane.observer_loop import MEMBERS, ObserverLoop
from servicegroup.group import ServiceGroup
from servicegroup.model import Member


def test_more_pushed_members_than_a_statement_names_lead_to_a_whole_look(
    group: ServiceGroup,
) -> None:
    loop = ObserverLoop(group, Observer(group), lambda: None)
    members = [Member("compute", f"h{n}") for n in range(MEMBERS + 1)]
    loop._note(members[:MEMBERS])
    assert loop._changed == set(members[:MEMBERS])
    loop._note(members[MEMBERS:])
    assert loop._changed is None
