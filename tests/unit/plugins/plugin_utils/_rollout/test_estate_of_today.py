# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host ends as it was found or better: what others did to it before, meanwhile and between two runs is respected."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import world
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from rollout_simulation import Estate, Host, Killed, Server, engine, roll_out, settings

Trouble = Callable[[int, str, str], None]


def killed_at(operation: str, which: int = 1, moment: str = "after") -> Trouble:
    """The controller is killed at an operation of that name."""
    seen: list[int] = []

    def trouble(number: int, name: str, when: str) -> None:
        if (name, when) == (operation, moment):
            seen.append(number)
            if len(seen) == which:
                raise Killed

    return trouble


def unfinished(estate: Estate, operation: str = "enter 100", which: int = 1, moment: str = "after") -> None:
    """A rollout to 2 that was killed."""
    with pytest.raises(Killed):
        roll_out(estate, settings(estate), killed_at(operation, which, moment))
    estate.lock = None


def take_out(estate: Estate, host: str, admin: str = "drain") -> None:
    """A person takes a host out of traffic."""
    for found in estate.balancers.values():
        found[host].admin = admin


def admins(estate: Estate, host: str) -> set[str]:
    return {found[host].admin for found in estate.balancers.values()}


# --------------------------------------------------------------------------------- a load balancer that sees it down


def test_host_that_one_load_balancer_cannot_reach_is_refused_by_name_and_goes_on_serving() -> None:
    estate = Estate.of(3)
    estate.cut_off = {("lb-2", "app-2")}
    with pytest.raises(PlanError) as why:
        roll_out(estate, settings(estate))
    assert str(why.value) == (
        "app-2 serves at lb-1 but is not up at lb-2 (L4TOUT), which no release can mend; bring it back there, or "
        "exclude it with rollout_exclude, knowing that it keeps the version that it has."
    )
    assert admins(estate, "app-2") == {"ready"}
    assert (estate.lock, estate.open_record) == (None, None)
    excluding = replace(settings(estate), hosts=("app-1", "app-3"), excluded=("app-2",))
    assert roll_out(estate, excluding).status == state.SUCCEEDED
    assert estate.available("lb-1") == 3


def test_host_that_is_down_everywhere_may_be_what_this_release_mends() -> None:
    estate = Estate.of(3)
    estate.hosts["app-2"].running = None
    record = roll_out(estate, settings(estate))
    assert record.status == state.SUCCEEDED
    assert record.batches[0] == ["app-2"]
    assert record.hosts["app-2"].down_at == ["lb-1", "lb-2"]
    assert record.hosts["app-1"].down_at == []
    assert all(estate.in_service(host) for host in estate.hosts)


def test_load_balancer_that_did_not_see_a_host_before_is_no_evidence_against_the_release() -> None:
    estate = Estate.of(3)
    estate.hosts["app-2"].running = None
    estate.cut_off = {("lb-2", "app-2")}
    record = roll_out(estate, settings(estate))
    assert record.status == state.HALTED
    assert "app-2 is DOWN at lb-2, as before the rollout, so that is not laid to the release" in record.reason
    assert {host: one.running for host, one in estate.hosts.items()} == {"app-1": "1", "app-2": "2", "app-3": "1"}
    # Mended, the same command goes on.
    estate.cut_off.clear()
    assert roll_out(estate, settings(estate)).status == state.SUCCEEDED


def test_load_balancer_that_saw_it_before_and_does_not_after_is() -> None:
    estate = Estate.of(3)

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("activate", "after") and estate.hosts["app-1"].running == "2":
            estate.cut_off = {("lb-2", "app-1")}
        elif name == "activate":
            estate.cut_off.clear()

    record = roll_out(estate, settings(estate), trouble)
    assert record.status == state.REVERTED
    assert record.reason == "balancers: app-1 is DOWN at lb-2"


def test_release_that_dies_before_a_load_balancer_has_seen_it_up_is_told_from_one_that_cannot_be_reached() -> None:
    estate = Estate.of(3)

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("enter 10", "before"):
            estate.hosts["app-1"].running = None

    record = roll_out(estate, settings(estate), trouble)
    assert record.status == state.REVERTED
    gate, _, balancers = record.reason.rpartition("; ")
    assert re.match(r"gate (ready|running) failed: app-1: 1 of 1 sample failed .*: not ready$", gate)
    assert balancers == "app-1 is DOWN at lb-1, is DOWN at lb-2"


def test_rollback_of_a_host_that_one_load_balancer_does_not_see_leaves_it_as_it_was_there() -> None:
    estate = Estate.of(3)
    roll_out(estate, settings(estate))
    estate.cut_off = {("lb-2", "app-2")}
    record = engine(estate, settings(estate, ""))[0].roll_back()
    assert record.status == state.SUCCEEDED
    assert {one.running for one in estate.hosts.values()} == {"1"}
    # Not drained there: it serves as soon as the load balancer reaches it again.
    assert admins(estate, "app-2") == {"ready"}
    assert any("app-2 is DOWN at lb-2, as before" in event["text"] for event in record.events)


# ---------------------------------------------------------------------------------------- what somebody else took out


@pytest.mark.parametrize("admin", ["drain", "maint"])
def test_server_that_is_taken_out_between_two_runs_stays_out(admin: str) -> None:
    estate = Estate.of(3)
    unfinished(estate, "drain", 2, "before")
    take_out(estate, "app-1", admin)
    record = roll_out(estate, settings(estate))
    assert record.status == state.SUCCEEDED
    assert record.kept_out == {"lb-1": ["app-1"], "lb-2": ["app-1"]}
    assert admins(estate, "app-1") == {admin}
    assert estate.in_service("app-2")
    assert any("app-1 was taken out of traffic at lb-1 by somebody else" in event["text"] for event in record.events)


@pytest.mark.parametrize("admin", ["drain", "maint"])
@pytest.mark.parametrize(("host", "operation", "which"), [("app-1", "drain", 3), ("app-3", "drain", 2)])
def test_server_that_is_taken_out_during_the_run_stays_out(host: str, operation: str, which: int, admin: str) -> None:
    """One that is done, and one whose turn is still to come."""
    estate = Estate.of(3)
    seen: list[int] = []

    def trouble(number: int, name: str, moment: str) -> None:
        if (name, moment) == (operation, "before"):
            seen.append(number)
            if len(seen) == which:
                take_out(estate, host, admin)

    record = roll_out(estate, settings(estate), trouble)
    assert record.status == state.SUCCEEDED
    assert record.kept_out == {"lb-1": [host], "lb-2": [host]}
    assert admins(estate, host) == {admin}
    assert {one.running for one in estate.hosts.values()} == {"2"}


def test_server_that_is_taken_out_while_it_has_its_first_share_stays_out() -> None:
    estate = Estate.of(3)

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("enter 10", "after") and not estate.in_service("app-1"):
            estate.balancers["lb-1"]["app-1"].admin = "drain"

    record = roll_out(estate, settings(estate), trouble)
    assert record.kept_out["lb-1"] == ["app-1"]
    assert estate.balancers["lb-1"]["app-1"].admin == "drain"
    assert estate.balancers["lb-2"]["app-1"].admin == "ready"


def test_server_that_a_person_takes_out_while_the_store_is_gone_is_not_put_back_as_the_rollouts_own() -> None:
    estate = Estate.of(3)

    def trouble(number: int, name: str, moment: str) -> None:
        if (number, name, moment) == (4, "save", "before"):
            estate.store_down = True
            take_out(estate, "app-1")
        if (name, moment) == ("enter 100", "before"):
            raise AssertionError("nothing was drained, so nothing is to be put back")

    record = roll_out(estate, settings(estate), trouble)
    assert (record.status, record.phase("app-1")) == (state.HALTED, state.PREPARED)
    assert admins(estate, "app-1") == {"drain"}


def test_server_that_a_person_takes_out_where_it_was_let_in_again_stays_out_there() -> None:
    """Its turn came to nothing, and the other one does not see it up any more."""
    estate = Estate.of(3)
    estate.balancers["lb-1"]["app-1"].sessions = 1

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("drain", "after"):
            estate.cut_off = {("lb-2", "app-1")}

    record = roll_out(estate, settings(estate), trouble)
    assert (record.status, record.hosts["app-1"].let_in_at) == (state.HALTED, ["lb-1"])
    assert (estate.balancers["lb-1"]["app-1"].admin, estate.balancers["lb-2"]["app-1"].admin) == ("ready", "drain")
    take_out(estate, "app-1")
    estate.cut_off, estate.balancers["lb-1"]["app-1"].sessions = set(), 0
    record = roll_out(estate, settings(estate))
    assert record.kept_out == {"lb-1": ["app-1"]}
    assert (estate.balancers["lb-1"]["app-1"].admin, estate.balancers["lb-2"]["app-1"].admin) == ("drain", "ready")


def test_server_that_a_person_puts_back_between_two_runs_takes_part_again() -> None:
    estate = Estate.of(3)
    take_out(estate, "app-3")
    unfinished(estate, "drain", 2, "before")
    for found in estate.balancers.values():
        found["app-3"].admin = "ready"
    record = roll_out(estate, settings(estate))
    assert (record.status, record.kept_out) == (state.SUCCEEDED, {})
    assert all(estate.in_service(host) for host in estate.hosts)


def test_server_that_a_person_puts_back_while_its_batch_is_drained_is_drained_again() -> None:
    estate = Estate.of(2)
    take_out(estate, "app-1")
    for found in estate.balancers.values():
        found["app-2"].sessions = 1
    seen: list[int] = []

    def trouble(number: int, name: str, moment: str) -> None:
        if (name, moment) == ("drain", "after"):
            seen.append(number)
            for found in estate.balancers.values():
                # The one is put back at once, the sessions of the other have ended at the third look.
                found["app-1"].admin = "ready" if len(seen) == 1 else found["app-1"].admin
                found["app-2"].sessions = int(len(seen) < 3)
        if (name, moment) == ("activate", "before"):
            assert (admins(estate, "app-1"), admins(estate, "app-2")) == ({"drain"}, {"drain"})

    record = roll_out(estate, settings(estate, batches=("100%",), min_available=0), trouble)
    assert (record.status, record.kept_out) == (state.SUCCEEDED, {"lb-1": [], "lb-2": []})
    assert all(estate.in_service(host) for host in estate.hosts)


def test_server_that_a_person_puts_back_with_a_part_of_its_share_gets_the_whole_at_the_end() -> None:
    estate = Estate.of(3)

    def trouble(_number: int, name: str, moment: str) -> None:
        if (name, moment) == ("enter 10", "after") and estate.hosts["app-2"].running == "1":
            take_out(estate, "app-1")
        if (name, moment) == ("drain", "after") and estate.hosts["app-2"].running == "2":
            for found in estate.balancers.values():
                found["app-1"].admin = "ready"

    record = roll_out(estate, settings(estate), trouble)
    assert (record.status, record.kept_out) == (state.SUCCEEDED, {"lb-1": [], "lb-2": []})
    assert all(estate.in_service(host) for host in estate.hosts)


@pytest.mark.parametrize("operation", range(30))
@pytest.mark.parametrize("bad", [False, True])
def test_what_the_rollout_itself_took_out_is_never_taken_for_somebody_elses(operation: int, bad: bool) -> None:
    estate = Estate.of(3)
    if bad:
        estate.bad["2"] = "errors"

    def trouble(number: int, _name: str, moment: str) -> None:
        if (number, moment) == (operation, "after"):
            raise Killed

    try:
        roll_out(estate, settings(estate), trouble)
    except Killed:
        estate.lock = None
        assert roll_out(estate, settings(estate)).kept_out == {}
    assert all(estate.in_service(host) for host in estate.hosts)


# ------------------------------------------------------------------------------------------------ today's inventory


def test_new_load_balancer_is_drained_as_the_others_are() -> None:
    estate = Estate.of(3)
    unfinished(estate)
    estate.balancers["lb-3"] = {host: Server() for host in estate.hosts}
    rollout, outside = engine(estate, settings(estate))
    seen: list[str] = []
    activate = outside._activate

    def watched(name: str, version: str, stop: bool) -> world.Activated:
        seen.append(estate.balancers["lb-3"][name].admin)
        return activate(name, version, stop)

    outside._activate = watched  # type: ignore[method-assign]
    record = rollout.roll_out()
    assert (record.status, set(seen)) == (state.SUCCEEDED, {"drain"})
    assert record.balancers == ["lb-1", "lb-2", "lb-3"]
    assert any("lb-3 is a new load balancer and is included" in event["text"] for event in record.events)


def test_load_balancer_that_is_gone_for_good_does_not_block_the_way_back() -> None:
    estate = Estate.of(3)
    estate.bad["2"] = "errors"
    unfinished(estate, "enter 10")
    estate.dead_balancers = {"lb-2"}
    wanted = replace(settings(estate, ""), balancers=("lb-1",))
    record = engine(estate, wanted)[0].roll_back()
    assert record.status == state.REVERTED
    assert estate.hosts["app-1"].running == "1"
    assert any("lb-2 is no load balancer of this run any more" in event["text"] for event in record.events)


@pytest.mark.parametrize("excluded", [("app-2",), ()])
def test_host_that_is_excluded_or_left_the_group_is_not_deployed_to(excluded: tuple[str, ...]) -> None:
    estate = Estate.of(3)
    unfinished(estate)
    record = roll_out(estate, replace(settings(estate), hosts=("app-1", "app-3"), excluded=excluded))
    assert record.status == state.SUCCEEDED
    assert {host: one.running for host, one in estate.hosts.items()} == {"app-1": "2", "app-2": "1", "app-3": "2"}
    assert (list(record.hosts), list(record.left)) == (["app-1", "app-3"], ["app-2"])
    word = "is excluded now" if excluded else "is no host of the service any more"
    assert any(f"app-2 {word}; it stays as it is (prepared)" in event["text"] for event in record.events)
    assert Record.from_dict(record.to_dict()) == record


def test_halt_with_an_excluded_host_in_the_record_is_written() -> None:
    estate = Estate.of(3)
    unfinished(estate)
    drains: list[int] = []

    def trouble(number: int, name: str, moment: str) -> None:
        if (name, moment) == ("drain", "before"):
            drains.append(number)
            if len(drains) == 2:
                raise world.BalancerTrouble("lb-1 gives no answer")

    record = roll_out(estate, replace(settings(estate), hosts=("app-1", "app-3"), excluded=("app-2",)), trouble)
    assert record.status == state.HALTED
    assert estate.open_record is not None
    assert estate.open_record["status"] == state.HALTED


def test_host_that_was_excluded_in_the_middle_of_its_turn_is_brought_back_by_the_next_rollout() -> None:
    estate = Estate.of(3)
    unfinished(estate, "drain", 1, "after")
    assert admins(estate, "app-1") == {"drain"}
    wanted = replace(settings(estate), hosts=("app-2", "app-3"), excluded=("app-1",))
    assert roll_out(estate, wanted).status == state.SUCCEEDED
    assert admins(estate, "app-1") == {"drain"}
    record = roll_out(estate, settings(estate))
    assert (record.status, record.kept_out) == (state.SUCCEEDED, {})
    assert estate.in_service("app-1")


def test_new_host_of_the_group_takes_part_at_the_end() -> None:
    estate = Estate.of(3)
    unfinished(estate)
    estate.hosts["app-4"] = Host()
    for found in estate.balancers.values():
        found["app-4"] = Server()
    record = roll_out(estate, settings(estate))
    assert record.status == state.SUCCEEDED
    assert record.batches == [["app-1"], ["app-2"], ["app-3"], ["app-4"]]
    assert all(estate.in_service(host) and one.running == "2" for host, one in estate.hosts.items())


def test_host_that_gives_no_answer_when_it_is_resumed_is_refused_and_not_rolled_back_for() -> None:
    estate = Estate.of(3)
    unfinished(estate)
    estate.hosts["app-3"].alive = False
    with pytest.raises(PlanError, match=r"app-3 \(no route to host\) gave no answer; .*rollout_exclude"):
        roll_out(estate, settings(estate))
    assert {one.running for one in estate.hosts.values()} == {"1", "2"}
    assert estate.lock is None
