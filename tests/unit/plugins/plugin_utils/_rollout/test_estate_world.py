# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout's steps are in terms of modules on hosts, and what it makes of their answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Migration, Record
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.call import Answer, Call
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.fleet import Fleet
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import estate_world, world
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.coordinator_store import WRITE, CoordinatorStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.estate_world import EstateWorld
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Node, Server
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.store_client import StoreSettings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import SampleRequest
from ansible_collections.mesops.platform.plugins.plugin_utils._service import rollout_gates
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service
from traffic_model import Model

SERVICE = Service(
    "catalog", 3000, "catalog.service", "bin/catalog", "catalog", ready_timeout=40, stop_timeout=20, keep=3
)
RECORD = Record("r1", "catalog", "2", "deploy@ci-7", 1.0)
BOTH = {"lb-1": ["app-1"], "lb-2": ["app-1"]}

Reply = Callable[[Call], Mapping[str, Any]]


class Hosts:
    """Stands in for the fleet: what each module answers, and what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.rounds = 0
        self.replies: dict[str, Reply] = {
            "rollout_record": lambda _call: {"control": None},
            "rollout_signal": lambda _call: {"figures": True},
        }
        self.unreachable: set[str] = set()
        self.background: dict[str, Answer] = {}

    def run(self, calls: Mapping[str, Call]) -> dict[str, Answer]:
        self.rounds += 1
        assert not set(calls) & set(self.background), "the fleet would take the earlier answer for this one's"
        return {key: self._answer(call) for key, call in calls.items()}

    def begin(self, key: str, call: Call) -> None:
        self.background[key] = self._answer(call)

    def busy(self, _key: str) -> bool:
        return False

    def collect(self, key: str) -> Answer | None:
        return self.background.pop(key, None)

    def _answer(self, call: Call) -> Answer:
        self.calls.append(call)
        if call.host in self.unreachable:
            return Answer({"msg": "no route to host"}, unreachable=True)
        return Answer(self.replies[call.module](call))

    def asked(self, name: str) -> dict[str, Call]:
        """The calls of one module, by host."""
        return {call.host: call for call in self.calls if call.module == name}


class Site:
    """A world with two hosts and two load balancers; everybody answers as told."""

    def __init__(self, **changes: Any) -> None:
        given: dict[str, Any] = {
            "service": SERVICE,
            "hosts": ("app-1", "app-2"),
            "balancers": ("lb-1", "lb-2"),
            "backends": ("catalog", "api"),
            "version": "2",
            "gates": rollout_gates.check_gates(changes.pop("gates", {}), SERVICE),
        }
        self.hosts = Hosts()
        self.said: list[tuple[str, Sequence[str]]] = []
        self.settings = Settings(**{**given, **changes})
        fleet = cast(Fleet, self.hosts)
        store = StoreSettings({"service": "catalog"}, ["lb-1"], {}, 45.0, lambda _lease: False)
        self.world = EstateWorld(
            fleet,
            self.settings,
            CoordinatorStore(fleet, store, lambda _text: None),
            lambda *args: self.said.append(args),
        )

    def reply(self, name: str, reply: Reply | Mapping[str, Any]) -> None:
        self.hosts.replies[name] = reply if callable(reply) else lambda _call: reply


def server(name: str, **more: Any) -> dict[str, Any]:
    """A server as haproxy_server shows it."""
    numbers = {"weight": 100, "weight_configured": 100, "sessions": 0, "queued": 0, "sessions_old_workers": 0}
    words = {"server": name, "backend": "catalog", "admin": "ready", "status": "UP", "check": "L7OK"}
    return {**numbers, **words, "up": True, "checked": True, **more}


def balancer(*servers: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A load balancer as haproxy_server shows it."""
    nothing = {"done": True, "busy_before": {}, "killed": {}, "waited_s": 0.0, "traffic": Model().look(0)}
    return {"servers": list(servers), **nothing, **more}


@pytest.fixture
def site() -> Site:
    return Site()


# -------------------------------------------------------------------------------------------------------------- looking


def test_everybody_is_looked_at_at_once_and_nothing_is_changed(site: Site) -> None:
    site.reply("app_release", lambda call: {"current": "1", "previous": "0", "running": call.host})
    site.reply("haproxy_server", balancer(server("app-1"), server("app-2", admin="drain"), server("other")))
    snapshot = site.world.observe()
    assert snapshot.nodes == {host: Node("1", "0", host) for host in ("app-1", "app-2")}
    expected = {"app-1": Server("ready", True), "app-2": Server("drain", True)}
    assert snapshot.servers == {"lb-1": expected, "lb-2": expected}
    assert site.hosts.rounds == 1
    assert {call.arguments["state"] for call in site.hosts.asked("app_release").values()} == {"read"}
    assert site.hosts.asked("haproxy_server")["lb-2"].arguments == {"backend": ["catalog", "api"]}


def test_a_silent_node_is_part_of_the_snapshot_and_a_silent_load_balancer_is_trouble(site: Site) -> None:
    site.reply("app_release", {"current": "1"})
    site.reply("haproxy_server", balancer(server("app-1"), server("app-2")))
    site.hosts.unreachable = {"app-2"}
    assert site.world.observe().nodes["app-2"] == Node(reason="no route to host")
    site.hosts.unreachable = {"lb-1", "lb-2"}
    with pytest.raises(world.BalancerTrouble) as why:
        site.world.observe()
    assert str(why.value) == "load balancer lb-1: no route to host; load balancer lb-2: no route to host"
    _nodes, balancers = site.world.look()
    assert [balancers[name].unreachable for name in ("lb-1", "lb-2")] == [True, True], "the status shows silence"


def test_a_host_that_a_load_balancer_does_not_know_is_named() -> None:
    site = Site(hosts=("app-1",), excluded=("app-2",))
    site.reply("app_release", {"current": "1"})
    site.reply("haproxy_server", balancer(server("app-1")))
    with pytest.raises(PlanError, match="app-2 is no server of catalog, api at lb-1; add it to haproxy_services"):
        site.world.observe()


# ---------------------------------------------------------------------------------------------------------------- nodes


def test_only_the_new_version_needs_its_archive() -> None:
    site = Site(artifact="/tmp/catalog.tar.gz", checksum="sha256:0")
    answers: dict[str, dict[str, Any]] = {
        "app-1": {"manifest": {"migrations": {}}},
        "app-2": {"failed": True, "msg": "disk full"},
    }
    site.reply("app_release", lambda call: answers[call.host])
    found = site.world.prepare({"app-1": "2", "app-2": "1"})
    assert found == {"app-1": world.Prepared("", {"migrations": {}}), "app-2": world.Prepared("disk full", {})}
    asked = site.hosts.asked("app_release")
    assert asked["app-1"].action, "an archive of the controller is brought by the action plugin"
    assert asked["app-1"].arguments["artifact"] == "/tmp/catalog.tar.gz"
    assert not asked["app-2"].action
    assert "artifact" not in asked["app-2"].arguments
    assert {call.arguments["state"] for call in asked.values()} == {"installed"}


def test_activation_is_one_round_with_the_record_and_the_first_samples(site: Site) -> None:
    started = {"stop_s": 1.5, "start_s": 2.5, "killed": True, "samples": {"running": {"phase": "success"}}}
    site.reply("app_release", lambda call: {"started": started, "changed": True} if call.host == "app-1" else {})
    found = site.world.activate({"app-1": "2", "app-2": "2"}, save=RECORD)
    assert found["app-1"] == world.Activated("", "gate activation", 1.5, 2.5, True, started["samples"])  # type: ignore[arg-type]
    assert found["app-2"] == world.Activated("", "gate activation")
    assert site.hosts.rounds == 1
    assert set(found) == {"app-1", "app-2"}
    assert site.hosts.asked("rollout_record")["lb-1"].arguments["record"] == RECORD.to_dict()
    ready = site.hosts.asked("app_release")["app-1"].arguments["ready"]
    assert set(ready["until"]) == {"ready"}, "it is waited for"
    assert set(ready["once"]) == {"running"}, "it is looked at"
    assert ready["until"]["ready"]["url"] == "http://127.0.0.1:3000/readyz"
    assert (ready["timeout"], ready["prove_stop"]) == (40, False)


def test_a_process_has_as_long_as_it_may_take_to_stop_and_to_start(site: Site) -> None:
    site.reply("app_release", {})
    site.world.activate({"app-1": "2"})
    site.world.activate({"app-2": "2"}, stop=True)
    asked = site.hosts.asked("app_release")
    assert asked["app-1"].timeout >= 60
    assert asked["app-2"].timeout >= 120, "it is started twice"
    assert asked["app-2"].arguments["ready"]["prove_stop"]


def test_why_a_version_does_not_run(site: Site) -> None:
    site.reply("app_release", {"failed": True, "msg": "answered 503", "gate": "ready"})
    site.hosts.unreachable = {"app-2"}
    found = site.world.activate({"app-1": "2", "app-2": "2"})
    assert (found["app-1"].reason, found["app-1"].gate) == ("answered 503", "gate ready")
    assert (found["app-2"].reason, found["app-2"].gate) == ("no route to host", "unreachable")


def test_the_version_before_is_not_judged_by_what_is_said_about_the_new_one() -> None:
    probe = {"type": "http", "url": "http://127.0.0.1:$port/version", "json": {"version": "$version"}}
    site = Site(gates={"version": {"stage": "ready", "probe": probe}})
    site.reply("app_release", {})
    site.world.activate({"app-1": "1", "app-2": "2"})
    old, new = (site.hosts.asked("app_release")[host].arguments["ready"] for host in ("app-1", "app-2"))
    assert (set(old["until"]), set(old["once"])) == ({"ready"}, set())
    assert new["once"]["version"]["json"] == {"version": "2"}


def test_hosts_that_go_back_wait_for_readiness_and_for_gates_that_are_about_both_versions() -> None:
    probe = {"type": "http", "url": "http://127.0.0.1:$port/internal/warm-$version"}
    gates = {
        "warm": {"stage": "ready", "probe": probe, "failure_limit": -1},
        "cache": {"stage": "ready", "probe": probe, "both": True},
    }
    site = Site(gates=gates)
    site.reply("app_release", {})
    site.world.activate({"app-1": "1", "app-2": "2"})
    old, new = (site.hosts.asked("app_release")[host].arguments["ready"] for host in ("app-1", "app-2"))
    assert (set(old["until"]), set(old["once"])) == ({"ready", "cache"}, set())
    assert old["until"]["cache"]["url"].endswith("warm-1")
    assert (set(new["until"]), set(new["once"])) == ({"ready", "warm"}, {"running", "cache"})


def test_a_look_at_a_migration_begins_none(site: Site) -> None:
    site.reply("app_migration", {"step_state": "idle"})
    assert site.world.look_at_migration("app-1", "2", "expand", Migration("bin/migrate", True, 300)) == world.Migrated()
    assert site.hosts.asked("app_migration")["app-1"].check


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"step_state": "running", "output": "1 of 2"}, world.Migrated(True, "", "1 of 2")),
        ({"step_state": "done"}, world.Migrated(False, "", "")),
        ({"failed": True, "msg": "it failed", "output": "boom"}, world.Migrated(False, "it failed", "boom")),
        ({"failed": True, "msg": "no such file", "step_state": "refused"}, world.Migrated(False, "no such file", "")),
        # A lost connection, or a module that ended without a result, says nothing of the migration.
        ({"failed": True, "unreachable": True, "msg": "gone"}, world.Migrated(lost="gone")),
        ({"failed": True, "msg": "killed"}, world.Migrated(lost="killed")),
    ],
)
def test_where_a_migration_stands(site: Site, answer: dict[str, Any], expected: world.Migrated) -> None:
    site.reply("app_migration", answer)
    assert site.world.migrate("app-1", "2", "expand", Migration("bin/migrate", True, timeout=600)) == expected
    call = site.hosts.asked("app_migration")["app-1"]
    assert {
        "version": "2",
        "step": "expand",
        "command": "bin/migrate",
        "timeout": 600,
    }.items() <= call.arguments.items()
    assert call.arguments["wait"] < call.timeout, "a long one is looked at again and again"


def test_what_cannot_be_pruned_is_told_and_is_no_trouble(site: Site) -> None:
    site.reply("app_release", {"failed": True, "msg": "read-only file system"})
    site.world.prune(["app-1"], {"2", "1"})
    assert site.said == [("old releases could not be removed: read-only file system", ["app-1"])]
    arguments = site.hosts.asked("app_release")["app-1"].arguments
    assert (arguments["state"], arguments["keep"], arguments["protect"]) == ("pruned", 3, ["1", "2"])


# ------------------------------------------------------------------------------------------------------------ balancers


def test_a_drain_counts_the_sessions_of_all_load_balancers_and_of_their_old_workers(site: Site) -> None:
    answers = {
        "lb-1": balancer(
            server("app-1", sessions=3, queued=1), waited_s=2.0, busy_before={"catalog/app-1": 9}, killed={}, done=False
        ),
        "lb-2": balancer(
            server("app-1", sessions_old_workers=2), waited_s=3.5, busy_before={"catalog/app-1": 1, "api/app-1": 4}
        ),
    }
    site.reply("haproxy_server", lambda call: answers[call.host])
    found = site.world.drain(BOTH, patience=3, least=1, save=RECORD)
    assert found == world.Drained(False, {"app-1": 6}, {"app-1": 14}, 3.5, {})
    assert site.hosts.rounds == 1
    call = site.hosts.asked("haproxy_server")["lb-2"]
    expected = {"server": ["app-1"], "state": "drain", "on_timeout": "report", "min_available": 1, "wait": 3}
    assert expected.items() <= call.arguments.items()
    assert call.timeout > 60, "it has its patience on top"


def test_sessions_that_outlive_the_deadline_are_ended_where_that_is_asked(site: Site) -> None:
    site.reply("haproxy_server", balancer(server("app-1"), killed={"catalog/app-1": 2, "api/app-1": 1}))
    found = site.world.drain(BOTH, patience=3, least=1, kill=True)
    assert (found.done, found.killed) == (True, {"app-1": 6})
    assert site.hosts.asked("haproxy_server")["lb-1"].arguments["on_timeout"] == "kill"


def test_hosts_get_their_share_once_every_load_balancer_sees_them_up(site: Site) -> None:
    down = server("app-1", up=False, status="DOWN", check="L4CON")
    answers = {"lb-1": balancer(server("app-1")), "lb-2": balancer(down)}
    site.reply("haproxy_server", lambda call: answers[call.host])
    assert site.world.enter(BOTH, 10).down == {"app-1": {"lb-2": "is DOWN at lb-2 after 40 s (L4CON)"}}
    call = site.hosts.asked("haproxy_server")["lb-1"]
    expected = {"server": ["app-1"], "state": "ready", "weight": "10%", "wait": 40, "on_timeout": "report"}
    assert expected.items() <= call.arguments.items()
    assert call.timeout >= 100


def test_what_somebody_else_has_taken_out_is_left_alone_at_that_load_balancer_and_told(site: Site) -> None:
    answers = {"lb-1": balancer(server("app-1")), "lb-2": balancer(left_alone={"app-1": "maint"})}
    site.reply("haproxy_server", lambda call: answers[call.host])
    assert site.world.drain(BOTH, patience=3, least=1).kept == {"lb-2": ["app-1"]}
    assert site.hosts.asked("haproxy_server")["lb-1"].arguments["unless"] == {"app-1": ["maint", "drain"]}
    # What the rollout has drained itself is not somebody else's, but maint is.
    assert site.world.enter(BOTH, 100, mine=["app-1"]).kept == {"lb-2": ["app-1"]}
    assert site.hosts.asked("haproxy_server")["lb-1"].arguments["unless"] == {"app-1": ["maint"]}


def test_a_server_may_be_let_in_without_waiting_for_its_check(site: Site) -> None:
    site.reply("haproxy_server", balancer(server("app-1", up=False, status="DOWN")))
    assert set(site.world.enter(BOTH, 100, wait=False).down) == {"app-1"}
    assert site.hosts.asked("haproxy_server")["lb-1"].arguments["wait"] == 0


def test_load_balancers_alone_are_looked_at_without_the_nodes(site: Site) -> None:
    site.reply("haproxy_server", balancer(server("app-1"), server("app-2", up=False, status="DOWN", check="L4TOUT")))
    found = site.world.servers()
    assert found["lb-1"]["app-1"].serving
    assert found["lb-2"]["app-2"].check == "DOWN, L4TOUT"
    assert site.hosts.asked("app_release") == {}
    site.hosts.unreachable = {"lb-2"}
    with pytest.raises(world.BalancerTrouble, match="lb-2"):
        site.world.servers()


def test_a_load_balancer_that_does_not_obey_is_trouble(site: Site) -> None:
    site.reply("haproxy_server", {"failed": True, "msg": "no such server"})
    with pytest.raises(world.BalancerTrouble, match="load balancer lb-1: no such server; load balancer lb-2"):
        site.world.enter(BOTH, 100)


# ---------------------------------------------------------------------------------------------------------------- store


def test_a_write_that_rides_along_is_no_answer_of_a_host(site: Site) -> None:
    site.reply("rollout_record", {"failed": True, "msg": "the disk is full"})
    site.reply("haproxy_server", balancer(server("app-1")))
    assert site.world.drain(BOTH, patience=1, least=0, save=RECORD).done
    assert isinstance(site.world.store_error(), world.StoreLost)
    assert site.world.store_error() is None


def held(site: Site, **more: Any) -> None:
    """Let the run hold the lock."""
    found = {"token": "t", "fence": 17, "store": "lb-1:/rollouts #s0123456789ab", "history": [], **more}
    site.reply("rollout_lock", {"lock": None})
    site.reply("rollout_record", lambda call: found if call.arguments["state"] == "opened" else {"control": None})
    assert site.world.open().fence == 17
    site.hosts.calls.clear()


SHOWN = {"fence": 17, "fence_store": "lb-1:/rollouts #s0123456789ab", "fence_adopt": ""}


def everything(site: Site) -> list[Callable[[], Any]]:
    return [
        lambda: site.world.prepare({"app-1": "2"}),
        lambda: site.world.migrate("app-1", "2", "expand", Migration("bin/x", True, 300)),
        lambda: site.world.drain(BOTH, patience=1, least=0),
        lambda: site.world.activate({"app-1": "2"}),
        lambda: site.world.enter(BOTH, 100),
        lambda: site.world.prune(["app-1"], ["2"]),
    ]


def test_every_step_of_a_run_and_its_first_look_show_its_number(site: Site) -> None:
    held(site)
    site.reply("app_release", {"current": "1"})
    site.reply("app_migration", {"step_state": "done"})
    site.reply("haproxy_server", balancer(server("app-1"), server("app-2")))
    site.world.observe()
    for act in everything(site):
        act()
    sent = [call for call in site.hosts.calls if call.module in ("app_release", "app_migration", "haproxy_server")]
    assert len(sent) == 4 + 8
    assert all(SHOWN.items() <= call.arguments.items() for call in sent)
    assert {call.arguments["service"] for call in sent} == {"catalog"}


def test_a_run_whose_lock_is_known_to_be_lost_sends_nothing(site: Site) -> None:
    held(site)
    site.world.store.lose("somebody else has it")
    for act in everything(site):
        with pytest.raises(world.LockLost, match="somebody else has it"):
            act()
    with pytest.raises(world.LockLost):
        site.world.sample([request("ready", HTTP, "app-1")])
    with pytest.raises(world.LockLost):
        site.world.save(RECORD)
    assert site.hosts.calls == []


def test_a_record_that_could_not_be_written_before_keeps_the_step_from_being_sent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from the controller itself, where the write is over before the round begins."""
    site.reply("app_release", {})
    site.reply("haproxy_server", balancer(server("app-1")))
    trouble: list[Exception] = [world.StoreLost("no majority"), world.LockLost("broken")]

    def begin_save(_record: Record) -> dict[str, Call]:
        site.world.store._note(trouble[0])
        return {}

    monkeypatch.setattr(site.world.store, "begin_save", begin_save)
    with pytest.raises(world.StoreLost, match="no majority"):
        site.world.activate({"app-1": "2"}, save=RECORD)
    with pytest.raises(world.StoreLost, match="no majority"):
        site.world.enter(BOTH, 10, save=RECORD)
    assert site.hosts.calls == []
    assert site.world.drain(BOTH, patience=0, least=0, save=RECORD).done, "out of traffic is where it does no harm"
    assert isinstance(site.world.store_error(), world.StoreLost)
    trouble.pop(0)
    site.hosts.calls.clear()
    with pytest.raises(world.LockLost, match="broken"):
        site.world.drain(BOTH, patience=0, least=0, save=RECORD)
    assert site.hosts.calls == []


def test_a_host_that_has_seen_a_newer_run_ends_this_one(site: Site) -> None:
    held(site)
    site.reply("app_release", {"failed": True, "fenced": True, "msg": "A newer run changes catalog here now."})
    with pytest.raises(world.LockLost, match=r"app-1: A newer run changes catalog here now\."):
        site.world.activate({"app-1": "2"}, save=RECORD)
    site.hosts.calls.clear()
    with pytest.raises(world.LockLost):
        site.world.enter(BOTH, 100)
    assert site.hosts.calls == []


@pytest.mark.parametrize("module_name", ["app_release", "haproxy_server"])
def test_a_host_that_goes_by_another_store_refuses_the_rollout_before_anything(site: Site, module_name: str) -> None:
    held(site)
    site.reply("app_release", {"current": "1"})
    site.reply("haproxy_server", balancer(server("app-1"), server("app-2")))
    site.reply(module_name, {"failed": True, "fenced": True, "msg": "The rollouts of catalog here go by another."})
    with pytest.raises(PlanError, match=r"(app|lb)-1: The rollouts of catalog here go by another\."):
        site.world.observe()


def test_without_a_store_nobody_is_asked_for_a_number(site: Site) -> None:
    """The status looks at hosts whatever they remember."""
    site.reply("app_release", {"current": "1"})
    site.reply("haproxy_server", balancer(server("app-1"), server("app-2")))
    site.world.look()
    assert not any("fence" in call.arguments for call in site.hosts.calls)


def test_without_a_record_nothing_is_written(site: Site) -> None:
    site.reply("haproxy_server", balancer())
    site.world.enter(BOTH, 100)
    assert site.hosts.asked("rollout_record") == {}


def test_a_host_may_have_any_name() -> None:
    site = Site(hosts=(WRITE,))
    site.reply("app_release", {"started": {"start_s": 2.0}})
    assert site.world.activate({WRITE: "2"}, save=RECORD)[WRITE].start_s == 2.0
    assert site.hosts.asked("rollout_record")


# -------------------------------------------------------------------------------------------------------------- samples

HTTP = {"type": "http", "url": "http://127.0.0.1/"}
ERRORS = {"type": "haproxy", "measure": "errors", "seconds": 30}
PROMQL = {"type": "promql", "url": "http://p", "query": "up", "min": 1}


def request(key: str, probe: Mapping[str, Any], host: str = "", baseline: Sequence[str] = ("app-2",)) -> SampleRequest:
    return SampleRequest(key, probe, host, ("app-1",), baseline)


def sampled(call: Call) -> dict[str, Any]:
    return {"samples": {key: {"phase": "success", "text": f"{key} well"} for key in call.arguments["probes"]}}


def test_every_probe_is_taken_where_it_belongs_all_in_one_round(site: Site) -> None:
    site.reply("health_gate", sampled)
    requests = [
        request("a", HTTP, "app-1"),
        request("b", HTTP, "app-2"),
        request("c", {"type": "haproxy"}),
        request("d", PROMQL),
        request("e", {**PROMQL, "from": "node"}, "app-1"),
        # A probe of the node about the whole batch has no node.
        request("f", HTTP),
    ]
    found = site.world.sample(requests, save=RECORD)
    assert {key: taken.phase for key, taken in found.items()} == dict.fromkeys("abcdef", Phase.SUCCESS)
    asked = site.hosts.asked("health_gate")
    assert {host: "".join(call.arguments["probes"]) for host, call in asked.items()} == {
        "app-1": "ae",
        "app-2": "b",
        "lb-1": "cdf",
        "lb-2": "c",
    }
    assert "from" not in asked["app-1"].arguments["probes"]["e"]
    assert site.hosts.rounds == 1


def test_load_balancers_are_asked_about_the_servers_of_the_batch_since_it_came_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = SimpleNamespace(value=1000.0)
    monkeypatch.setattr(estate_world, "time", SimpleNamespace(monotonic=lambda: now.value, time=time.time))
    site.reply("health_gate", sampled)
    site.reply("haproxy_server", balancer())
    site.world.enter(BOTH, 10)
    seen = []
    for seconds in (4, 100):
        now.value = 1000.0 + seconds
        site.world.sample([request("x", ERRORS)])
        seen.append(site.hosts.asked("health_gate")["lb-1"].arguments["probes"]["x"])
    assert [one["seconds"] for one in seen] == [4, 30]
    assert (seen[0]["backend"], seen[0]["servers"]) == (["catalog", "api"], ["app-1"])
    assert "servers" not in ERRORS, "what the user wrote is left as it is"


def traffic(number: int, **more: Any) -> dict[str, Any]:
    """What a load balancer has counted: so many requests of each host, all of them failed at app-1."""
    balancer = Model()
    balancer.at += number
    balancer.send("app-1", "5xx", number)
    balancer.send("app-2", "good", number)
    return {**balancer.look(0), **more}


def test_what_was_counted_before_a_batch_came_in_does_not_count(site: Site) -> None:
    site.reply("haproxy_server", balancer(traffic=traffic(1000)))
    site.world.enter(BOTH, 10)
    site.reply("health_gate", {"samples": {"x": {"phase": "raw", "text": "", "data": {"traffic": traffic(1007)}}}})
    figures = site.world.sample([request("x", ERRORS)])["x"].figures
    assert isinstance(figures, world.Counted)
    assert figures.baseline is not None
    assert (figures.canary.failed, figures.baseline.good) == (14, 14)


def test_every_load_balancer_is_looked_at_when_a_host_gets_traffic_also_where_it_is_kept_out(site: Site) -> None:
    site.reply("haproxy_server", balancer(server("app-1"), traffic=traffic(1000)))
    assert not site.world.enter({"lb-1": ["app-1"]}, 10).down
    asked = site.hosts.asked("haproxy_server")
    assert asked["lb-1"].arguments["state"] == "ready"
    assert asked["lb-2"].arguments == {"backend": ["catalog", "api"]}, "it is only looked at"
    assert site.hosts.rounds == 1
    site.reply("health_gate", {"samples": {"x": {"phase": "raw", "text": "", "data": {"traffic": traffic(1007)}}}})
    figures = site.world.sample([request("x", ERRORS)])["x"].figures
    assert isinstance(figures, world.Counted)
    assert figures.canary.failed == 7


def test_what_was_usual_is_what_came_in_before_a_host_got_traffic(site: Site) -> None:
    site.reply("app_release", {"current": "1"})
    site.reply("haproxy_server", balancer(server("app-1"), server("app-2"), traffic=traffic(50)))
    site.world.observe()
    site.reply("haproxy_server", balancer(server("app-1"), traffic=traffic(1000)))
    site.world.enter(BOTH, 10)
    site.reply("health_gate", {"samples": {"x": {"phase": "raw", "text": "", "data": {"traffic": traffic(1007)}}}})
    figures = site.world.sample([request("x", ERRORS)])["x"].figures
    assert isinstance(figures, world.Counted)
    assert figures.usual is not None
    assert figures.usual.good == 1900, "from the first look to the canary's entry"


@pytest.mark.parametrize("silent", ["app-1", "lb-1"])
def test_silence_is_no_evidence_not_even_that_of_a_node(site: Site, silent: str) -> None:
    """A refused connection says nothing about the release; whether the host is down is what the checks tell."""
    site.reply("health_gate", sampled)
    site.hosts.unreachable = {silent}
    key, probe, host = ("x", HTTP, "app-1") if silent == "app-1" else ("x", PROMQL, "")
    taken = site.world.sample([request(key, probe, host)])[key]
    assert taken == world.Taken(Phase.ERROR, f"{silent}: no route to host")


def test_a_coordinator_that_falls_silent_in_a_round_with_the_store_is_silent_about_samples_too(site: Site) -> None:
    """The store goes on at the next coordinator, which was not asked for the sample."""
    site.world.store = CoordinatorStore(
        site.world.fleet, StoreSettings({"service": "catalog"}, ["lb-1", "lb-2"], {}, 45.0, lambda _lease: False), print
    )
    site.hosts.unreachable = {"lb-1"}
    taken = site.world.sample([request("x", PROMQL, "")], save=RECORD)["x"]
    assert taken == world.Taken(Phase.ERROR, "lb-1: no route to host")
    assert site.world.store.coordinator == "lb-2"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(value=1000.0)
    monkeypatch.setattr(estate_world, "time", SimpleNamespace(monotonic=lambda: now.value, time=time.time))
    return now


def test_a_query_never_looks_at_the_version_before(site: Site, clock: SimpleNamespace) -> None:
    probe = {**PROMQL, "query": "rate(errors[1m])"}
    site.reply("health_gate", sampled)
    site.reply("haproxy_server", balancer())
    site.world.enter(BOTH, 10)
    clock.value += 59
    taken = site.world.sample([SampleRequest("x", probe, "", ["app-1"], ["app-2"], True)])["x"]
    assert taken == world.Taken(
        Phase.NO_DATA, "the query looks back 60 s, but the hosts have had traffic for 59 s only"
    )
    assert site.hosts.asked("health_gate") == {}
    site.world.enter(BOTH, 100)
    clock.value += 2
    assert site.world.sample([SampleRequest("x", probe, "", ["app-1"], ["app-2"], True)])["x"].phase is Phase.SUCCESS
    site.world.enter({"lb-1": ["app-2"]}, 10)
    late = SampleRequest("x", probe, "", ["app-2"], ["app-1"])
    assert site.world.sample([late])["x"].phase is Phase.SUCCESS, "before there is traffic it is about something else"


def test_a_range_is_cut_to_the_time_of_the_new_version_and_its_points_are_independent(
    site: Site, clock: SimpleNamespace
) -> None:
    probe = {**PROMQL, "query": "rate(errors[1m])", "baseline": "b", "range": 300}
    raw = {"phase": "raw", "text": "", "data": {"canary": [1.0], "baseline": [1.0], "until": 77.0}}
    site.reply("health_gate", {"samples": {"x": raw}})
    site.reply("haproxy_server", balancer())
    site.world.enter(BOTH, 10)
    asked = []
    for seconds in (100, 1000):
        clock.value = 1000.0 + seconds
        site.world.sample([SampleRequest("x", probe, "", ["app-1"], ["app-2"], True)])
        sent = site.hosts.asked("health_gate")["lb-1"].arguments["probes"]["x"]
        asked.append((sent["range"], sent["step"], sent.get("since")))
    assert asked == [(40, 60, None), (300, 60, 77.0)]


def test_a_module_that_fails_on_a_node_is_no_evidence_against_the_release(site: Site) -> None:
    site.reply("health_gate", {"failed": True, "msg": "no space for a temporary file"})
    taken = site.world.sample([request("x", HTTP, "app-1")])["x"]
    assert taken == world.Taken(Phase.ERROR, "app-1: no space for a temporary file")


def test_slow_probes_have_their_time(site: Site) -> None:
    site.reply("health_gate", sampled)
    site.world.sample([request("x", {**HTTP, "timeout": 50}, "app-1"), request("y", {**HTTP, "timeout": 40}, "app-1")])
    assert site.hosts.asked("health_gate")["app-1"].timeout >= 90


# -------------------------------------------------------------------------------------------------------------- signals


def told(site: Site) -> list[tuple[str, str, float]]:
    """Where the telemetry was told of which status, and of which end."""
    calls = [call for call in site.hosts.calls if call.module == "rollout_signal"]
    return [(call.host, call.arguments["status"], call.arguments["ended_at"]) for call in calls]


def test_the_telemetry_hears_of_each_status_once(site: Site) -> None:
    """Writing the record again says nothing new."""
    record = replace(RECORD)
    site.world.save(record)
    site.world.save(record)
    record.status = "paused"
    site.world.save(record)
    assert told(site) == [("lb-1", "running", 0.0), ("lb-1", "paused", 0.0)]
    record.status, record.ended_at = "done", 7.0
    site.world.close(record)
    assert told(site)[2:] == [("lb-1", "done", 7.0)]


def test_a_load_balancer_that_is_away_is_passed_over(site: Site) -> None:
    """And nothing that the rollout does depends on it."""
    site.hosts.unreachable = {"lb-1"}
    site.world.store.coordinator = "lb-2"
    record = replace(RECORD)
    site.world.save(record)
    record.status = "rolling_back"
    site.world.save(record)
    assert [place for place, _status, _end in told(site)] == ["lb-1", "lb-2"]
    record.status, record.ended_at = "rolled_back", 9.0
    site.world.close(record)
    assert told(site)[2:] == [("lb-2", "rolled_back", 9.0)]
    site.hosts.replies["rollout_signal"] = lambda _call: {"failed": True, "msg": "the disk is full"}
    site.world.close(record)
