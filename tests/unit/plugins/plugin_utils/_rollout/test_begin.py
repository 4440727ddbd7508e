# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a new rollout or rollback: who takes part, what they go back to, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import HostRecord, Migration, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.begin import begin_rollback, begin_rollout
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.history import left_behind
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Node, Server, Snapshot
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service
from refusals import refused

SERVICE = Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")
HOSTS = ("app-1", "app-2", "app-3")
BALANCERS = ("lb-1", "lb-2")
UP, DOWN, DRAIN, MAINT = Server("ready", True), Server("ready", False), Server("drain", True), Server("maint", False)


def settings(version: str = "2", hosts: tuple[str, ...] = HOSTS, **changes: Any) -> Settings:
    given: dict[str, Any] = {"batches": (1,), "min_available": 1, "version": version}
    return Settings(SERVICE, hosts, BALANCERS, ("catalog",), **{**given, **changes})


def snapshot(nodes: dict[str, Node] | None = None, servers: dict[tuple[str, str], Server] | None = None) -> Snapshot:
    """Every host on version 1 and in service, but for what is given."""
    found = {host: Node("1", "0", "1") for host in HOSTS}
    return Snapshot(
        {**found, **(nodes or {})},
        {name: {host: (servers or {}).get((name, host), UP) for host in HOSTS} for name in BALANCERS},
    )


def blank(kind: str = "rollout", version: str = "2") -> Record:
    return Record("catalog-now", "catalog", version, "ops@here", 1000.0, kind=kind, balancers=list(BALANCERS))


def past(
    number: int,
    version: str,
    hosts: dict[str, HostRecord],
    status: str = state.SUCCEEDED,
    kind: str = "rollout",
    **more: Any,
) -> dict[str, Any]:
    """A rollout on record."""
    more = {"balancers": list(BALANCERS), **more}
    record = Record(f"catalog-{number}", "catalog", version, "ops", 1.0, kind, status, hosts=hosts, **more)
    return record.to_dict()


def done(version: str, before: str | None, hosts: tuple[str, ...] = HOSTS, **more: Any) -> dict[str, Any]:
    """A rollout that brought hosts to a version."""
    states = {host: HostRecord(0, version, before, phase=state.DONE) for host in hosts}
    return past(1, version, states, **more)


# ------------------------------------------------------------------------------------------------------------- rollout


@pytest.mark.parametrize("algorithm", ["static-rr", "source", "uri", "first", "hdr", "roundrobin", "unknown", ""])
def test_shares_of_traffic_that_a_load_balancer_cannot_give_are_refused_before_anything_changes(algorithm: str) -> None:
    """HAProxy 2.6 calls random unknown."""
    seen = snapshot(servers={("lb-2", "app-3"): Server("ready", True, algorithm=algorithm)})
    assert begin_rollout(blank(), settings(weights=(100,)), seen, []).hosts
    if algorithm in ("roundrobin", "unknown", ""):
        assert begin_rollout(blank(), settings(), seen, []).hosts
    else:
        assert refused(lambda: begin_rollout(blank(), settings(), seen, [])) == (
            f"catalog is balanced by {algorithm} at lb-2, which knows no shares of a server's traffic, but the weights "
            "are [10, 100]; set app_services.catalog.rollout.weights to [100], or balance by roundrobin, leastconn or "
            "random and run site.yml."
        )


@pytest.mark.parametrize(
    ("weight", "weights", "good"),
    [(9, (10, 100), False), (10, (10, 100), True), (0, (50, 100), False), (2, (50, 100), True), (0, (100,), True)],
)
def test_a_share_of_a_weight_that_would_be_nothing_is_refused(
    weight: int, weights: tuple[int, ...], good: bool
) -> None:
    seen = snapshot(servers={("lb-1", "app-1"): Server("ready", True, weight=weight)})
    wanted = settings(weights=weights)
    if good:
        assert begin_rollout(blank(), wanted, seen, []).hosts
    else:
        said = refused(lambda: begin_rollout(blank(), wanted, seen, []))
        assert said.startswith(
            f"app-1 has the weight {weight} at lb-1, of which {weights[0]} % would be 0, but the weights"
        )


def test_every_host_takes_part_and_knows_what_it_ran() -> None:
    record = begin_rollout(blank(), settings(weights=(50, 100)), snapshot({"app-2": Node("0.9", None, "0.9")}), [])
    assert record.batches == [["app-1"], ["app-2"], ["app-3"]]
    assert {host: (one.batch, one.target, one.previous) for host, one in record.hosts.items()} == {
        "app-1": (0, "2", "1"),
        "app-2": (1, "2", "0.9"),
        "app-3": (2, "2", "1"),
    }
    assert {one.phase for one in record.hosts.values()} == {state.PENDING}
    assert not any(one.left_out for one in record.hosts.values())
    assert (record.weights, record.kept_out, record.excluded) == ([50, 100], {}, [])


def test_first_release_of_a_host_has_nothing_before_it() -> None:
    record = begin_rollout(blank(), settings(), snapshot({"app-1": Node(None, None, None)}), [])
    assert record.hosts["app-1"].previous is None


def test_hosts_that_are_there_do_not_take_part() -> None:
    there = {"app-1": Node("2", "1", "2"), "app-3": Node("2", "1", "2")}
    record = begin_rollout(blank(), settings(), snapshot(there), [])
    assert list(record.hosts) == ["app-2"]
    assert record.batches == [["app-2"]]


def test_nothing_to_do() -> None:
    there = {host: Node("2", "1", "2") for host in HOSTS}
    record = begin_rollout(blank(), settings(), snapshot(there), [done("2", "1")])
    assert record.hosts == {}
    assert record.batches == []


@pytest.mark.parametrize(
    ("node", "server"),
    [
        (Node("2", "1", "1"), UP),  # not restarted
        (Node("2", "1", None), DOWN),  # does not run
        (Node("2", "1", "2"), DOWN),
        (Node("2", "1", "2"), Server("ready", True, 10.0)),  # a canary that was left behind
    ],
)
def test_host_that_is_not_wholly_there_takes_part(node: Node, server: Server) -> None:
    there = {host: Node("2", "1", "2") for host in HOSTS}
    seen = snapshot({**there, "app-2": node}, {(name, "app-2"): server for name in BALANCERS})
    record = begin_rollout(blank(), settings(), seen, [])
    assert list(record.hosts) == ["app-2"]
    # What is current already is nothing to go back to; what was before it is.
    assert record.hosts["app-2"].previous == "1"


@pytest.mark.parametrize("server", [DRAIN, MAINT])
def test_server_taken_out_by_somebody_else_is_kept_out(server: Server) -> None:
    record = begin_rollout(blank(), settings(), snapshot(servers={("lb-1", "app-2"): server}), [])
    assert record.kept_out == {"lb-1": ["app-2"]}
    assert "app-2" in record.hosts


def test_kept_out_server_is_as_good_as_there() -> None:
    there = {host: Node("2", "1", "2") for host in HOSTS}
    record = begin_rollout(blank(), settings(), snapshot(there, {("lb-1", "app-2"): MAINT}), [])
    assert record.hosts == {}


def test_kept_out_servers_do_not_count_as_capacity() -> None:
    seen = snapshot(servers={("lb-1", "app-1"): MAINT})
    assert "leaves 1 at lb-1" in refused(lambda: begin_rollout(blank(), settings(min_available=2), seen, []))
    # One that is only down comes back with its batch.
    seen = snapshot({"app-1": Node("1", "0", None)}, {(name, "app-1"): DOWN for name in BALANCERS})
    record = begin_rollout(blank(), settings(min_available=2), seen, [])
    assert record.batches == [["app-1"], ["app-2"], ["app-3"]]


def test_excluded_hosts_are_named_and_still_count() -> None:
    wanted = settings(hosts=("app-1", "app-2"), excluded=("app-3",), min_available=2)
    record = begin_rollout(blank(), wanted, snapshot(), [])
    assert record.excluded == ["app-3"]
    assert list(record.hosts) == ["app-1", "app-2"]
    assert "(3 of 3)" in refused(
        lambda: begin_rollout(
            blank(), settings(hosts=("app-1", "app-2"), excluded=("app-3",), min_available=3), snapshot(), []
        )
    )


def test_hosts_that_are_there_count_as_capacity() -> None:
    seen = snapshot({"app-3": Node("2", "1", "2")})
    record = begin_rollout(blank(), settings(min_available=2), seen, [])
    assert list(record.hosts) == ["app-1", "app-2"]
    assert "(3 of 3)" in refused(lambda: begin_rollout(blank(), settings(min_available=3), seen, []))


def test_silent_hosts_are_refused_with_their_reasons() -> None:
    silent = {"app-1": Node(reason="no route to host"), "app-3": Node(reason="timed out")}
    expected = (
        "app-1 (no route to host), app-3 (timed out) gave no answer; bring them back, or exclude them with "
        "rollout_exclude, knowing that an excluded host keeps the version that it has."
    )
    assert refused(lambda: begin_rollout(blank(), settings(), snapshot(silent), [])) == expected
    assert (
        refused(lambda: begin_rollback(blank("rollback"), settings(""), snapshot(silent), [done("1", "0")])) == expected
    )
    left = settings(hosts=("app-2",), excluded=("app-1", "app-3"), min_available=0)
    assert list(begin_rollout(blank(), left, snapshot(silent), []).hosts) == ["app-2"]


# --------------------------------------------------------------------------------------------------------- left behind


def broken(phase: str, left_out: bool = False) -> dict[str, Any]:
    """A rollout to 2 that could not bring app-2 back to 1."""
    return past(2, "2", {"app-2": HostRecord(0, "2", "1", left_out, phase)}, status=state.BROKEN)


@pytest.mark.parametrize(
    ("phase", "left_out", "behind"),
    [
        (state.FAILED, False, True),
        (state.PENDING, True, True),
        (state.PREPARED, True, True),
        (state.PENDING, False, False),
        (state.DONE, True, False),
        (state.ROLLED_BACK, True, False),
    ],
)
def test_left_behind(phase: str, left_out: bool, behind: bool) -> None:
    history = [past(3, "3", {"app-1": HostRecord(0, "3")}), broken(phase, left_out), done("1", "0")]
    assert left_behind("app-2", history) is behind
    assert not left_behind("app-9", history)


def test_the_last_rollout_of_a_host_decides() -> None:
    assert not left_behind("app-2", [done("2", "1"), broken(state.FAILED)])
    assert left_behind("app-2", [broken(state.FAILED), done("2", "1")])


def test_host_that_was_left_behind_is_brought_back_even_when_it_is_there() -> None:
    there = {host: Node("2", "1", "2") for host in HOSTS}
    seen = snapshot(there, {(name, "app-2"): DRAIN for name in BALANCERS})
    record = begin_rollout(blank(), settings(), seen, [broken(state.FAILED)])
    # It was this collection that took it out, so it is not kept out.
    assert record.kept_out == {}
    assert list(record.hosts) == ["app-2"]
    assert record.hosts["app-2"].left_out


def test_a_failed_attempt_had_not_drained_what_somebody_else_had_drained() -> None:
    """Not in the record that failed, nor in one that the host had left in the middle of its turn."""
    seen = snapshot(servers={(name, "app-2"): DRAIN for name in BALANCERS})
    tried = {"app-2": HostRecord(0, "2", "1", phase=state.FAILED)}
    failed = past(2, "2", tried, state.BROKEN, kept_out={"lb-1": ["app-2"]})
    gone = HostRecord(0, "2", "1", phase=state.DRAINED, kept_at=["lb-1"])
    left = done("2", "1", ("app-1", "app-3"), left={"app-2": gone})
    for history in ([failed], [left]):
        record = begin_rollout(blank(version="3"), settings("3"), seen, history)
        assert record.kept_out == {"lb-1": ["app-2"]}


def test_what_a_failed_attempt_left_is_nothing_to_go_back_to() -> None:
    seen = snapshot({"app-2": Node("2", "1", None)}, {(name, "app-2"): DRAIN for name in BALANCERS})
    record = begin_rollout(blank(version="3"), settings("3"), seen, [broken(state.FAILED)])
    assert record.hosts["app-2"].previous == "1"
    assert record.hosts["app-1"].previous == "1"
    assert record.batches[0] == ["app-2"]


def attempt(version: str, before: str, phase: str, status: str, kind: str = "rollout") -> dict[str, Any]:
    """An earlier rollout, as far as app-2 is concerned."""
    return past(1, version, {"app-2": HostRecord(0, version, before, phase=phase)}, status, kind)


ROLLED_BACK, FAILED, DONE = state.ROLLED_BACK, state.FAILED, state.DONE


@pytest.mark.parametrize(
    ("history", "version"),
    [
        # Brought back counts as proof, also of a version that no rollout has brought.
        (
            [
                attempt("4", "hotfix", FAILED, state.BROKEN),
                attempt("3", "hotfix", ROLLED_BACK, state.REVERTED),
                attempt("2", "1", DONE, state.SUCCEEDED),
            ],
            "hotfix",
        ),
        # A person went back from 3, which so is nothing to go back to although it was done once.
        (
            [
                attempt("2", "3", FAILED, state.BROKEN, "rollback"),
                attempt("3", "2", DONE, state.SUCCEEDED),
                attempt("2", "1", DONE, state.SUCCEEDED),
            ],
            "2",
        ),
        # What failed once and was done later has proved itself.
        (
            [
                attempt("3", "2", FAILED, state.BROKEN),
                attempt("2", "1", DONE, state.SUCCEEDED),
                attempt("2", "1", ROLLED_BACK, state.REVERTED),
            ],
            "2",
        ),
        # Where the history does not reach so far: what ran before the first of the failed attempts.
        (
            [
                attempt("4", "3", FAILED, state.BROKEN),
                attempt("3", "2", FAILED, state.BROKEN),
            ],
            "2",
        ),
    ],
)
def test_the_way_back_leads_to_what_last_proved_itself_on_the_host(history: list[dict[str, Any]], version: str) -> None:
    seen = snapshot({"app-2": Node("4", "3", None)}, {(name, "app-2"): DRAIN for name in BALANCERS})
    record = begin_rollout(blank(version="5"), settings("5"), seen, history)
    assert record.hosts["app-2"].previous == version


def test_a_host_that_is_only_mended_goes_back_to_the_version_that_it_has_if_that_was_proved() -> None:
    seen = snapshot({"app-2": Node("2", "1", None)}, {(name, "app-2"): DOWN for name in BALANCERS})
    there = {host: Node("2", "1", "2") for host in ("app-1", "app-3")}
    seen = Snapshot({**seen.nodes, **there}, seen.servers)
    record = begin_rollout(blank(), settings(), seen, [done("2", "1")])
    assert {host: one.previous for host, one in record.hosts.items()} == {"app-2": "2"}


# ------------------------------------------------------------------------------------------------------------ rollback

NEW = {host: Node("2", "1", "2") for host in HOSTS}


def roll_back(history: list[dict[str, Any]], seen: Snapshot | None = None, **changes: Any) -> Record:
    return begin_rollback(blank("rollback", ""), settings("", **changes), seen or snapshot(NEW), history)


def test_rollback_goes_to_what_each_host_ran() -> None:
    last = done("2", "1")
    last["hosts"]["app-3"]["previous"] = "0.9"
    record = roll_back([last])
    assert {host: (one.target, one.previous) for host, one in record.hosts.items()} == {
        "app-1": ("1", "2"),
        "app-2": ("1", "2"),
        "app-3": ("0.9", "2"),
    }
    assert record.version == "0.9/1"
    assert record.reason == "reverts catalog-1 of 2"
    assert record.weights == [100]


@pytest.mark.parametrize(
    ("later", "came"),
    [
        (
            past(2, "3", {"app-1": HostRecord(0, "3", "2", phase=state.ROLLED_BACK)}, state.REVERTED),
            "was rolled back by itself",
        ),
        (past(2, "3", {"app-1": HostRecord(0, "3", "2")}, state.BROKEN), "has come to nothing"),
        (past(2, "3", {}, state.SUPERSEDED), "has come to nothing"),
    ],
)
def test_rollback_after_a_rollout_that_came_to_nothing_has_nothing_to_revert(later: dict[str, Any], came: str) -> None:
    """A pipeline's job for failures gives this command; it must not go one version further back."""
    assert refused(lambda: roll_back([later, done("2", "1")])) == (
        f"The last rollout catalog-2 of 3 {came}, so there is nothing to revert; to go further back, roll out the "
        "version that you want."
    )


def test_rollback_after_a_rollout_that_came_to_nothing_brings_back_what_it_left_behind() -> None:
    failed = past(2, "3", {"app-1": HostRecord(0, "3", "2", phase=state.FAILED)}, state.BROKEN)
    seen = snapshot({**NEW, "app-1": Node("3", "2", None)}, {(name, "app-1"): DRAIN for name in BALANCERS})
    record = roll_back([failed, done("2", "1")], seen)
    assert {host: one.target for host, one in record.hosts.items()} == {"app-1": "2"}
    assert record.kept_out == {}


@pytest.mark.parametrize(("hosts", "are", "them"), [(["app-3"], "is", "it"), (["app-2", "app-3"], "are", "them")])
@pytest.mark.parametrize(
    ("since", "said"),
    [
        (
            [
                past(3, "1", {"app-1": HostRecord(0, "1", "2", phase=state.DONE)}, kind="rollback"),
                past(2, "2", {"app-1": HostRecord(0, "2", "1", phase=state.DONE)}),
            ],
            "Every host of catalog already runs what it ran before catalog-2; there is nothing to revert.",
        ),
        (
            [past(2, "3", {"app-1": HostRecord(0, "3", "1")}, state.BROKEN)],
            "The last rollout catalog-2 of 3 has come to nothing, so there is nothing to revert; to go further back, "
            "roll out the version that you want.",
        ),
    ],
)
def test_rollback_with_nothing_to_revert_names_hosts_that_an_earlier_rollout_left_behind(
    since: list[dict[str, Any]], said: str, hosts: list[str], are: str, them: str
) -> None:
    """They were no part of the last rollout, nor of its rollback."""
    left = past(1, "2", {host: HostRecord(0, "2", None, phase=state.FAILED) for host in hosts}, state.REVERTED)
    assert refused(lambda: roll_back([*since, left], snapshot())) == (
        f"{said} {', '.join(hosts)} {are} not wholly in traffic; to let {them} in, roll out the version that runs."
    )


def test_rollback_with_nothing_to_revert_names_hosts_with_a_part_of_their_share() -> None:
    """A person had taken it out with the share that it had in its turn, and put it back when all was over."""
    came = past(2, "3", {"app-1": HostRecord(0, "3", "1", phase=state.ROLLED_BACK)}, state.REVERTED)
    seen = snapshot(None, {("lb-1", "app-1"): Server("ready", True, 10)})
    assert refused(lambda: roll_back([came], seen)).endswith(
        "app-1 is not wholly in traffic; to let it in, roll out the version that runs."
    )


def test_rollback_given_twice_does_not_bring_the_newer_version_back() -> None:
    states = {host: HostRecord(0, "1", "2", phase=state.DONE) for host in HOSTS}
    history = [past(2, "1", states, kind="rollback"), done("2", "1"), done("1", "0")]
    assert refused(lambda: roll_back(history, snapshot())) == (
        "Every host of catalog already runs what it ran before catalog-1; there is nothing to revert."
    )


def test_rollback_includes_hosts_that_the_last_one_left_behind() -> None:
    states = {host: HostRecord(0, "1", "2", phase=state.DONE) for host in HOSTS}
    states["app-2"].phase = state.FAILED
    history = [past(2, "1", states, state.BROKEN, "rollback"), done("2", "1")]
    record = roll_back(history, snapshot(servers={(name, "app-2"): DRAIN for name in BALANCERS}))
    assert {host: one.target for host, one in record.hosts.items()} == {"app-2": "1"}
    assert record.kept_out == {}


def test_rollback_leaves_hosts_alone_that_are_there_or_excluded() -> None:
    seen = snapshot({"app-1": NEW["app-1"], "app-3": NEW["app-3"]})
    record = roll_back([done("2", "1")], seen, hosts=("app-1", "app-2"), excluded=("app-3",))
    assert list(record.hosts) == ["app-1"]
    assert record.excluded == ["app-3"]


def test_rollback_keeps_out_what_somebody_else_has_taken_out() -> None:
    record = roll_back([done("2", "1")], snapshot(NEW, {("lb-2", "app-3"): MAINT}))
    assert record.kept_out == {"lb-2": ["app-3"]}


def test_rollback_minds_the_capacity() -> None:
    text = refused(lambda: roll_back([done("2", "1")], min_available=3))
    assert "which leaves 2 at lb-1, but min_available is 3 (3 of 3)" in text


def test_rollback_of_a_first_release_is_refused() -> None:
    assert refused(lambda: roll_back([done("2", None)])) == (
        "catalog-1 brought the first version to app-1, app-2, app-3, so there is none to go back to; roll out the "
        "version that you want instead."
    )


def test_rollback_of_hosts_that_are_no_longer_there_has_nothing_to_do() -> None:
    last = done("2", "1", ("gone-1",))
    assert refused(lambda: roll_back([last])).startswith("Every host of catalog already runs what it ran before")
    # Nor has one of which the only host with a version before is back already.
    last = done("2", "1", ("app-1", "app-2"))
    last["hosts"]["app-2"]["previous"] = None
    back = snapshot({**NEW, "app-1": Node("1", "2", "1")})
    assert refused(lambda: roll_back([last], back)).startswith("Every host of catalog already runs what it ran before")


def test_host_without_a_version_before_is_named() -> None:
    last = done("2", "1")
    last["hosts"]["app-3"]["previous"] = None
    record = roll_back([last])
    assert list(record.hosts) == ["app-1", "app-2"]
    assert record.reason == "reverts catalog-1 of 2; app-3 had no version before it and keeps the one that it has"


@pytest.mark.parametrize(
    "history", [[], [past(1, "1", {}, state.BROKEN, "rollback")], [past(1, "2", {}, state.HALTED)]]
)
def test_rollback_of_nothing_is_refused(history: list[dict[str, Any]]) -> None:
    assert refused(lambda: roll_back(history)) == (
        "There is no finished rollout of catalog on record to go back from; roll out the version that you want instead."
    )


@pytest.mark.parametrize("step_state", ["running", "done", "failed"])
def test_rollback_past_a_migration_that_cannot_be_undone_is_refused(step_state: str) -> None:
    migrations = {"contract": Migration("bin/x", reversible=False, timeout=300, state=step_state)}
    assert refused(lambda: roll_back([done("2", "1", migrations=migrations)])) == (
        "The migration contract of catalog 2 cannot be undone and has run, so catalog-1 cannot be reverted; roll "
        "forward to a corrected version."
    )


def test_migration_that_did_not_run_closes_no_way() -> None:
    migrations = {
        "expand": Migration("bin/y", reversible=True, timeout=300, state="done"),
        "contract": Migration("bin/x", reversible=False, timeout=300, state="pending"),
    }
    assert len(roll_back([done("2", "1", migrations=migrations)]).hosts) == 3
