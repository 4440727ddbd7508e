# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a task's options to a rollout: every mistake is one sentence, and no default is a surprise."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import context as cli
from ansible.playbook.play_context import PlayContext
from ansible_collections.mesops.platform.plugins.module_utils._record import store_rules
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import holder, setup
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.controller_store import ControllerStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.coordinator_store import CoordinatorStore
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.estate_world import EstateWorld
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._service.errors import PlanError
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service, service_of
from ansible_collections.mesops.platform.plugins.plugin_utils._service.services import app_service_plan
from refusals import refused

APP = app_service_plan({"catalog": {"port": 3000, "command": "bin/catalog"}}, ["catalog"])["services"][0]
ARGS: dict[str, Any] = {"app": APP, "hosts": ["app-1", "app-2"], "balancers": ["lb-1", "lb-2"], "version": "1.4.0"}
HOSTVARS: dict[str, dict[str, Any]] = {name: {} for name in ("app-1", "app-2", "lb-1", "lb-2", "pg-1")}


def settings_of(base: Path | str = "/", **more: Any) -> Settings:
    return setup.settings_of({**ARGS, **more}, str(base), {})


def refusal(**more: Any) -> str:
    with pytest.raises(PlanError) as why:
        settings_of(**more)
    text = str(why.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


# -------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("version", ["1.4.0", "2026-11-25", "v1", "7", "2026_01", "010"])
def test_versions(version: Any) -> None:
    assert setup.check_version(version) == str(version)


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (
            1.1,
            "rollout_version 1.1 is a number in YAML, where 1.10 without quotes becomes 1.1 and yes becomes true; put",
        ),
        (True, "rollout_version True is a truth value in YAML, where"),
        (
            202601,
            "rollout_version 202601 is a number in YAML, where 2026_01 without quotes becomes 202601 and 12:30 becom",
        ),
        (8, "rollout_version 8 is a number in YAML, where"),
        (datetime.date(2026, 1, 1), "rollout_version 2026-01-01 is no text in YAML, where"),
        (["1.0"], "rollout_version ['1.0'] is no text in YAML, where"),
        ("", "rollout_version: "),
        ("../1.0", "rollout_version: "),
        ("1.0 rc", "rollout_version: "),
        (".hidden", "rollout_version: "),
    ],
)
def test_versions_that_are_refused(version: Any, sentence: str) -> None:
    text = refused(setup.check_version, version)
    assert text.startswith(sentence)
    assert str(version) in text


def test_checksums() -> None:
    assert setup.check_checksum(CHECKSUM) == CHECKSUM
    text = refused(setup.check_checksum, "md5:abc")
    assert text.startswith("rollout_checksum: ")
    assert "md5:abc" in text
    assert "sha256:" in text


# ------------------------------------------------------------------------------------------------------------ who, what


def test_names_of_rollouts_sort_by_time_and_are_never_given_twice() -> None:
    names = [setup.new_id("catalog", 1795516800.0 + number * 3600) for number in range(30)]
    assert names == sorted(names)
    assert names[0].startswith("catalog-20261124T")
    assert len({setup.new_id("catalog", 0.0) for _ in range(20)}) > 15
    store_rules.check_record("catalog", {"id": names[0]})


def test_the_service_is_as_the_filter_completes_it() -> None:
    given = {"port": 8080, "command": "bin/api --fast", "user": "api", "ready_timeout": 7, "stop_timeout": 9, "keep": 3}
    services = app_service_plan({"catalog-api": {**given, "readiness_path": "/up"}}, ["catalog-api"])["services"]
    expected = Service("catalog-api", 8080, "catalog-api.service", "bin/api --fast", "api", "/up", 7.0, 9.0, 3)
    assert service_of(services[0]) == expected


@pytest.mark.parametrize("given", [None, "catalog", ["catalog"]])
def test_a_service_that_is_no_mapping_is_refused(given: Any) -> None:
    assert refusal(app=given).startswith("app is no mapping; pass the service as the filter")


# ------------------------------------------------------------------------------------------------------------- artifact


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "dist" / "catalog-1.4.0.tar.gz"
    path.parent.mkdir()
    path.write_bytes(b"archive")
    return path


CHECKSUM = f"sha256:{hashlib.sha256(b'archive').hexdigest()}"


def test_an_artifact_is_found_from_where_one_stands_or_beside_the_playbook(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, stand, base in (
        (str(archive), elsewhere, elsewhere),
        ("dist/catalog-1.4.0.tar.gz", tmp_path, elsewhere),
        ("dist/catalog-1.4.0.tar.gz", elsewhere, tmp_path),
        ("~/dist/catalog-1.4.0.tar.gz", elsewhere, elsewhere),
    ):
        monkeypatch.chdir(stand)
        found = settings_of(base, artifact=name, checksum=CHECKSUM.upper().replace("SHA256", "sha256"))
        assert (found.artifact, found.checksum) == (str(archive), CHECKSUM)


@pytest.mark.parametrize("url", ["https://builds.example.com/catalog.tar.gz", "HTTP://builds/catalog.tar.gz"])
def test_a_url_is_left_to_the_hosts(url: str) -> None:
    found = settings_of(artifact=url, checksum=CHECKSUM)
    assert (found.artifact, found.checksum) == (url, CHECKSUM)


@pytest.mark.parametrize("nothing", [None, ""])
def test_what_is_installed_needs_no_artifact(nothing: Any) -> None:
    found = settings_of(artifact=nothing, checksum=CHECKSUM)
    assert (found.artifact, found.checksum) == ("", "")


def test_an_artifact_that_is_not_what_was_built_is_refused(archive: Path) -> None:
    found, wanted = CHECKSUM, f"sha256:{'0' * 64}"
    assert refusal(artifact=str(archive)).startswith("rollout_artifact is given without rollout_checksum; add the")
    assert refusal(artifact=str(archive), checksum="md5:0").startswith("rollout_checksum: checksum 'md5:0' is not of")
    assert refusal(artifact=f"{archive}.old", checksum=wanted).endswith(
        "catalog-1.4.0.tar.gz.old is no file on this controller; build it, or correct the path."
    )
    assert refusal(artifact=str(archive), checksum=wanted) == (
        f"rollout_artifact catalog-1.4.0.tar.gz has checksum {found}, not {wanted}; name the right file, or correct "
        "the checksum if the file is right."
    )


# ------------------------------------------------------------------------------------------------------------- settings


def test_little_has_to_be_said() -> None:
    found = settings_of()
    assert (found.service.name, found.version, found.backends) == ("catalog", "1.4.0", ("catalog",))
    assert (found.hosts, found.balancers, found.excluded) == (("app-1", "app-2"), ("lb-1", "lb-2"), ())
    assert (found.batches, found.min_available, found.weights) == ((1, "25%"), "50%", (10, 100))
    assert (found.drain_deadline, found.drain_on_timeout, found.min_healthy_time) == (60.0, "fail", 10.0)
    assert (found.pause_timeout, found.prove_stop, found.migrations) == (3600.0, False, {})
    assert set(found.gates) == {"ready", "running", "errors", "answers", "up"}


def test_two_services_on_the_same_hosts_never_see_each_others_settings() -> None:
    gate = {"version": {"stage": "ready", "probe": {"type": "tcp", "address": "localhost:$port"}}}
    given = {
        "catalog": {
            **{"port": 3000, "command": "bin/catalog", "group": "apps", "readiness_host": "catalog.example.com"},
            "rollout": {"gates": gate, "min_healthy_time": 60, "prove_stop": True, "drain": {"deadline": "5m"}},
        },
        "pricing": {"port": 3001, "command": "bin/pricing", "group": "apps", "rollout": {"weights": [50, 100]}},
    }
    catalog, pricing = (settings_of(app=one) for one in app_service_plan(given, ["apps"])["services"])
    assert (catalog.min_healthy_time, catalog.prove_stop, catalog.drain_deadline) == (60, True, 300)
    assert (pricing.min_healthy_time, pricing.prove_stop, pricing.drain_deadline) == (10, False, 60)
    assert (catalog.weights, pricing.weights) == ((10, 100), (50, 100))
    assert (set(catalog.gates) - set(pricing.gates), set(pricing.gates) - set(catalog.gates)) == ({"version"}, set())
    assert [one.gates["ready"].probe["host"] for one in (catalog, pricing)] == ["catalog.example.com", "localhost"]
    assert (catalog.backends, pricing.backends) == (("catalog",), ("pricing",))


def test_everything_that_is_said_counts() -> None:
    found = setup.settings_of(
        {
            **ARGS,
            "exclude": ["app-2"],
            "backends": ["shop", "api"],
            "batches": 2,
            "min_available": 1,
            "weights": [5, 50, 100],
            "min_healthy_time": "90",
            "drain": {"deadline": "2m", "on_timeout": "kill"},
            "gates": {"errors": {"enabled": False}},
            "pause_timeout": 60,
            "prove_stop": True,
            "migrations": {"expand": {"command": "bin/migrate"}},
        },
        "/",
        {"app-1": "192.0.2.1"},
    )
    assert (found.hosts, found.excluded, found.backends) == (("app-1",), ("app-2",), ("shop", "api"))
    assert (found.batches, found.min_available, found.weights) == ((2,), 1, (5, 50, 100))
    assert (found.min_healthy_time, found.drain_deadline, found.drain_on_timeout) == (90.0, 120.0, "kill")
    assert set(found.gates) == {"ready", "running", "answers", "up"}
    assert (found.pause_timeout, found.prove_stop, found.addresses) == (60.0, True, {"app-1": "192.0.2.1"})
    assert found.migrations["expand"]["command"] == "bin/migrate"
    assert found.least == 1


def test_excluded_hosts_still_count_for_what_stays_available() -> None:
    assert settings_of(hosts=["a", "b", "c", "d"], exclude=["d"]).least == 2


def test_without_a_version_there_is_only_a_way_back() -> None:
    """A rollback names none."""
    assert settings_of(version=None).version == ""
    assert settings_of(version="").version == ""


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"hosts": []}, "catalog has no hosts in the inventory; add them to their group."),
        ({"exclude": ["app-1", "app-2"]}, "rollout_exclude names every host of catalog, so there is nothing to do;"),
        ({"balancers": []}, "catalog has no load balancers in the inventory; add them to their group."),
        ({"exclude": ["app-9", "app-1"]}, "rollout_exclude names app-9, but catalog runs on app-1, app-2; correct it."),
        ({"version": 1.1}, "rollout_version 1.1 is a number in YAML, where 1.10 without quotes becomes 1.1"),
        ({"version": "1/2"}, "rollout_version: version '1/2' is no plain name"),
        ({"batches": []}, "rollout_batches is empty; give at least one size, such as [1, '25%']."),
        ({"batches": [0]}, "rollout_batches is 0; give a whole number from 1, or a percentage"),
        ({"batches": ["half"]}, "rollout_batches is 'half'; give a whole number from 1, or a percentage"),
        ({"min_available": "101%"}, "rollout_min_available is '101%'; give a whole number from 0"),
        ({"weights": [10, 50]}, "rollout_weights is [10, 50]; give rising whole percentages"),
        ({"min_healthy_time": -1}, "rollout_min_healthy_time is -1; give a number from 0 to 86400."),
        ({"pause_timeout": 0}, "rollout_pause_timeout is 0; give a number from 1 to"),
        ({"drain": {"deadline": "soon"}}, "rollout_drain.deadline is 'soon'; give a time such as 30s or 5m."),
        ({"drain": {"on_timeout": "hope"}}, "rollout_drain.on_timeout is 'hope'; give one of wait, kill, fail."),
        ({"gates": ["ready"]}, "rollout_gates is ['ready'], which is no mapping"),
        ({"migrations": {"shrink": {}}}, "rollout_migrations has the unknown step 'shrink'"),
    ],
)
def test_every_mistake_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    assert refusal(**given).startswith(sentence)


@pytest.mark.parametrize(
    ("name", "given", "field"),
    [
        ("exclude", "app-2", "excluded"),
        ("backends", "catalog", "backends"),
        ("balancers", "lb-1", "balancers"),
    ],
)
def test_one_name_is_a_list_of_one(name: str, given: str, field: str) -> None:
    """As Ansible takes it everywhere else; `-e rollout_exclude=app-2` passes the role's argument specification."""
    assert getattr(settings_of(**{name: given}), field) == (given,)


def test_a_service_without_all_its_keys_is_refused_with_a_sentence() -> None:
    assert "app_service_plan" in refusal(app={"name": "catalog", "port": 3000})


def test_a_drain_that_is_no_mapping_is_refused_with_a_sentence() -> None:
    assert refusal(drain="60s").startswith("rollout_drain is '60s'")


# ---------------------------------------------------------------------------------------------------------------- store


def store_of(store: Mapping[str, Any] | None = None, **more: Any) -> Any:
    args = {**ARGS, "store": store, **more}
    return setup.store_of(args, settings_of(), "rollout of catalog 1.4.0", HOSTVARS)


def test_the_record_is_in_files_on_the_first_load_balancer_unless_told_otherwise() -> None:
    found, direct = store_of()
    assert (found.options, found.coordinators, found.ttl) == ({"service": "catalog"}, ["lb-1"], 45.0)
    assert not direct
    assert found.is_dead is holder.is_dead


def test_etcd_is_reached_through_any_load_balancer_or_from_the_controller() -> None:
    etcd = {"backend": "etcd", "endpoints": ["http://pg-1:2379"], "username": "u", "password": "p", "timeout": 3}
    found, direct = store_of({**etcd, "via": "coordinator"})
    assert (list(found.coordinators), direct) == (["lb-1", "lb-2"], False)
    assert found.options == {**etcd, "service": "catalog"}
    found, direct = store_of({**etcd, "via": "controller", "coordinators": ["pg-1"]}, lock_ttl="20")
    assert (list(found.coordinators), direct, found.ttl) == (["pg-1"], True, 20.0)
    assert found.options == {**etcd, "service": "catalog"}


def test_options_of_the_task_are_left_as_they_are() -> None:
    given = {"via": "coordinator", "coordinators": ["pg-1"], "directory": "/srv"}
    store_of(given)
    assert given == {"via": "coordinator", "coordinators": ["pg-1"], "directory": "/srv"}


@pytest.mark.parametrize(
    ("store", "more", "sentence"),
    [
        ({"via": "controller"}, {}, "rollout_store.via is 'controller' with the backend 'file'; it is coordinator, or"),
        ({"backend": "etcd", "via": "ssh"}, {}, "rollout_store.via is 'ssh' with the backend 'etcd'; it is"),
        (
            {"backend": "consul"},
            {},
            "rollout_store has the backend 'consul'; it may have coordinators, adopt and backend,",
        ),
        ({"path": "/x", "host": "y"}, {}, "rollout_store has the unknown keys path, host; it may have coordinators"),
        ({"service": "billing"}, {}, "rollout_store has the unknown keys service; it may have coordinators"),
        (
            {"coordinators": ["lb-1", "lb-2"]},
            {},
            "rollout_store.coordinators names lb-1, lb-2, but with the backend file",
        ),
        ({"coordinators": ["lb-9"]}, {}, "rollout_store.coordinators names lb-9, which is not in the inventory"),
        ({}, {"lock_ttl": 5}, "rollout_lock_ttl is 5; give a number from 15 to 3600."),
    ],
)
def test_a_store_that_makes_no_sense_is_refused(store: dict[str, Any], more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PlanError) as why:
        store_of(store, **more)
    assert str(why.value).startswith(sentence)
    assert str(why.value).endswith(".")


# ------------------------------------------------------------------------------------------------------- put together


def build(hostvars: Mapping[str, Mapping[str, Any]] | None = None, **more: Any) -> EstateWorld:
    action: Any = SimpleNamespace(_loader=SimpleNamespace(get_basedir=lambda: "/"), _play_context=PlayContext())
    task_vars = {"hostvars": {**HOSTVARS, **(hostvars or {})}}
    return setup.build(action, task_vars, {**ARGS, **more}, "status", tell)


told: list[tuple[str, Sequence[str]]] = []


def tell(text: str, hosts: Sequence[str]) -> None:
    told.append((text, hosts))


def test_a_world_knows_where_its_hosts_are() -> None:
    known = {
        "app-1": {"mesops_address": "10.0.0.1", "ansible_host": "203.0.113.1"},
        "app-2": {"ansible_host": "203.0.113.2"},
    }
    found = build(known, hosts=["app-1", "app-2", "pg-1"])
    assert found.settings.addresses == {"app-1": "10.0.0.1", "app-2": "203.0.113.2", "pg-1": "pg-1"}


def test_whoever_waits_keeps_the_lease() -> None:
    found = build()
    assert found.fleet.tick == found.store.keep_alive
    assert found.fleet is found.store.fleet


def test_the_store_is_reached_as_it_is_told() -> None:
    assert isinstance(build().store, CoordinatorStore)
    etcd = {"backend": "etcd", "endpoints": ["http://pg-1:2379"], "via": "controller"}
    assert isinstance(build(store=etcd).store, ControllerStore)


def test_as_many_processes_as_the_play_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ansible-playbook --forks 7`."""
    monkeypatch.setattr(cli, "CLIARGS", {**cli.CLIARGS, "forks": 7})
    assert build().fleet._forks == 7


def test_what_the_store_tells_a_person_is_about_no_host() -> None:
    told.clear()
    build().store._tell("the store does not take the record")
    build().tell("drained", ["app-1"])
    assert told == [("the store does not take the record", ()), ("drained", ["app-1"])]


def test_a_mistake_is_found_before_anything_is_reached() -> None:
    with pytest.raises(PlanError, match=re.escape("rollout_weights is [100, 10]")):
        build(weights=[100, 10])
