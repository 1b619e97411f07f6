"""The contract catches every broken driver, and no test of it is there for nothing."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from drivers import broken
from drivers.reference import Directory, Reference
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member
from servicegroup.testing import DriverContract, RefusalContract, outages

pytestmark = pytest.mark.long

CAUGHT_BY: list[tuple[str, type[Reference], dict[str, Any]]] = [
    ("test_a_member_that_joins_is_present", broken.AnswersFromItsOwnMemory, {}),
    ("test_every_member_asked_is_answered", broken.OmitsTheAbsent, {}),
    ("test_an_empty_group_is_answered", broken.BelievesInEverybody, {}),
    ("test_heartbeats_are_idempotent", broken.CountsHeartbeats, {}),
    ("test_a_member_stays_for_its_time_to_live", broken.ExpiresEarly, {}),
    ("test_a_member_leaves_by_itself", broken.IgnoresLeave, {}),
    ("test_a_member_leaves_by_itself", broken.RaisesWhenNothingIsFreed, {}),
    ("test_the_control_plane_makes_a_member_leave", broken.LeavesOnlyWhatItJoined, {}),
    ("test_the_control_plane_makes_one_incarnation_leave", broken.LeavesOnlyWhatItJoined, {}),
    ("test_leaving_what_never_joined_is_success", broken.RaisesWhenNothingIsFreed, {}),
    ("test_a_heartbeat_joins_again_after_an_eviction", broken.JoinsOnce, {}),
    ("test_a_newer_incarnation_takes_over", broken.TakesRemainsForItself, {}),
    ("test_an_older_incarnation_does_not_hide_a_newer_one", broken.LastWriterWins, {}),
    ("test_an_older_incarnation_does_not_revive_a_newer_one", broken.NamesTheNewestEverSeen, {}),
    ("test_an_older_incarnation_that_leaves_leaves_alone", broken.LeaveEvictsEverybody, {}),
    ("test_an_incarnation_that_never_joined_frees_nothing", broken.LeaveEvictsEverybody, {}),
    ("test_leaving_without_an_incarnation_frees_all", broken.LeaveForgetsOnlyTheOldest, {}),
    ("test_groups_are_apart", broken.MixesGroups, {}),
    ("test_no_two_names_are_confused", broken.GluesNames, {}),
    ("test_odd_host_names_are_members_like_any_other", broken.ListsNobody, {}),
    ("test_odd_host_names_are_members_like_any_other", broken.FoldsCase, {}),
    ("test_odd_host_names_are_members_like_any_other", broken.CutsLongNames, {}),
    ("test_odd_host_names_are_members_like_any_other", broken.StripsBlanks, {}),
    ("test_odd_host_names_are_members_like_any_other", broken.RefusesSlashes, {}),
    ("test_thousands_of_members_are_one_question", broken.AsksOneByOne, {}),
    ("test_a_handle_is_shared_between_threads", broken.SharesItsScratchpad, {}),
    ("test_the_shared_options_lead_to_the_same_backend", broken.TellsAgentsNothing, {}),
    ("test_the_shared_options_lead_to_the_same_backend", broken.TellsAgentsObjects, {}),
    ("test_a_proof_makes_no_member", broken.ProvesByJoining, {}),
    ("test_warnings_are_sentences_with_a_remedy", broken.WarnsWithoutARemedy, {}),
    ("test_watching_calls_back_where_that_is_declared", broken.OnlyDeclaresToPush, {}),
    ("test_closing_is_idempotent", broken.ClosesOnce, {"used": False}),
    ("test_a_killed_member_is_absent_in_time", broken.NeverExpires, {}),
    ("test_a_frozen_member_expires_and_joins_again", broken.JoinsOnce, {}),
    ("test_a_fast_restart_is_present_over_its_remains", broken.TakesRemainsForItself, {}),
    ("test_a_forked_child_does_not_harm_its_parent", broken.ClosesItsParent, {}),
    ("test_a_frozen_backend_is_unknown_and_recovers", broken.TakesErrorsForMisses, {}),
    ("test_a_frozen_backend_is_unknown_and_recovers", broken.StaysSureOfWhatItSaw, {}),
    ("test_a_frozen_backend_is_unknown_and_recovers", broken.RaisesWhenAsked, {}),
    ("test_a_frozen_backend_is_unknown_and_recovers", broken.SwallowsErrors, {}),
    ("test_a_frozen_backend_is_unknown_and_recovers", broken.SwallowsErrorsOfLeaving, {}),
    ("test_a_frozen_backend_is_unknown_and_recovers", broken.GivesUp, {}),
    ("test_a_frozen_backend_is_unknown_and_recovers", broken.WaitsTooLong, {}),
    ("test_a_long_freeze_accuses_nobody", broken.NeverDoubts, {}),
    ("test_a_restarted_backend_accuses_nobody", broken.NeverDoubts, {}),
    ("test_an_emptied_backend_accuses_nobody", broken.NeverDoubts, {}),
    ("test_one_heartbeat_heals", broken.JoinsOnce, {"outage": "restart"}),
    ("test_one_heartbeat_heals", broken.JoinsOnce, {"outage": "empty"}),
    ("test_a_backend_that_was_emptied_is_believed_again", broken.DoubtsForEver, {}),
    ("test_a_backend_that_is_not_there_is_unknown", broken.ConnectsWhenBuilt, {}),
    ("test_who_cannot_write_is_not_absent", broken.ProvesNothing, {}),
]


class EveryContract(DriverContract, RefusalContract):
    """All that there is."""


class TestReference(EveryContract):
    """What the broken drivers are made of keeps the contract, so each is caught for its defect."""

    driver = Reference
    ttl = 2.0

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Directory:
        return Directory(tmp_path)

    @pytest.fixture
    def options(self, backend: Directory) -> dict[str, Any]:
        return {"directory": str(backend.directory)}

    @pytest.fixture
    def refusing(self, backend: Directory) -> Directory:
        return backend

    @pytest.fixture
    def nowhere(self, tmp_path: Path) -> dict[str, Any]:
        return {"directory": str(tmp_path / "nowhere")}


@pytest.mark.parametrize(
    ("name", "driver", "more"),
    CAUGHT_BY,
    ids=[f"{driver.__name__}-{name.removeprefix('test_')}" for name, driver, _ in CAUGHT_BY],
)
def test_a_broken_driver_is_caught(
    name: str,
    driver: type[Reference],
    more: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outages, "BOUND", 0.5)
    monkeypatch.setattr(outages, "SLACK", 0.2)
    suite = type("TestBroken", (EveryContract,), {"driver": driver, "ttl": 0.5, "patience": 1.0})()
    test = getattr(suite, name)
    backend = Directory(tmp_path)
    given = fixtures(driver, backend) | more
    wanted = {parameter: given[parameter] for parameter in inspect.signature(test).parameters}
    with pytest.raises(
        (AssertionError, pytest.fail.Exception, DriverUnavailable, RuntimeError, TypeError)
    ):
        test(**wanted)


def test_every_test_of_the_contract_catches_something() -> None:
    tests = {name for name, _ in inspect.getmembers(EveryContract) if name.startswith("test_")}
    assert tests == {name for name, _, _ in CAUGHT_BY}


def test_every_broken_driver_is_caught() -> None:
    drivers = {kind for _, kind in inspect.getmembers(broken, inspect.isclass)
               if issubclass(kind, Reference) and kind is not Reference}  # fmt: skip
    assert drivers == {driver for _, driver, _ in CAUGHT_BY}


def fixtures(driver: type[Reference], backend: Directory) -> dict[str, Any]:
    options = {"directory": str(backend.directory)}
    given: dict[str, Any] = {
        "backend": backend,
        "refusing": backend,
        "options": options,
        "nowhere": {"directory": str(backend.directory / "nowhere")},
        "group": "group",
        "member": Member("group", "host"),
        "crowd": [Member("group", f"host-{number}") for number in range(5)],
    }
    handles = ("agent", "successor", "observer")
    return given | {handle: driver.from_options(options) for handle in handles}
