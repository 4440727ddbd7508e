# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules on the store: their results, their check mode, and the kinds of failure that a caller tells apart."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mesops.platform.plugins.doc_fragments.rollout_store import ModuleDocFragment
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._record import options
from ansible_collections.mesops.platform.plugins.module_utils._record.etcd_store import EtcdStore
from ansible_collections.mesops.platform.plugins.module_utils._record.file_store import FileStore
from ansible_collections.mesops.platform.plugins.modules import rollout_control, rollout_lock, rollout_record
from contracts.store_contract import ALICE, ended, record
from yaml import safe_load

HOLDER = {"user": "deploy", "host": "ci-7", "pid": 4242, "boot": "b", "process_started": "77", "what": "rollout"}
OTHER = {"user": "ops", "host": "desk"}

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def log(_self: basic.AnsibleModule, msg: str, log_args: Any = None) -> None:
        found.append(f"{msg} {log_args}")

    monkeypatch.setattr(basic.AnsibleModule, "log", log)
    return found


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], logged: list[str]) -> Run:
    """Run a module on a store in files, and give its result as Ansible gets it."""

    def run(module: Any, check: bool = False, **arguments: Any) -> dict[str, Any]:
        given = {"service": "catalog", "directory": str(tmp_path / "rollouts"), **arguments}
        with patch_module_args({**given, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def opened(run: Run, **arguments: Any) -> dict[str, Any]:
    return run(rollout_record, state="opened", holder=HOLDER, **arguments)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- a rollout from its beginning to its end ------------------------------------------------------------------------


def test_rollout_from_its_beginning_to_its_end(run: Run) -> None:
    first = opened(run)
    assert (first["changed"], first["open_record"], first["control"], first["history"]) == (True, None, None, [])
    token = first["token"]
    written = run(rollout_record, state="written", token=token, record=record(step=1))
    assert (written["changed"], written["control"], written["lock"]["holder"]["user"]) == (True, None, "deploy")
    paused = run(rollout_control, flag="pause", by="ops", note="shift change")
    assert (paused["changed"], paused["control"]["flag"]) == (True, "pause")
    assert paused["rollout"] == {"id": "r1", "version": "1.4.0", "status": "running"}
    assert paused["msg"] == "rollout r1 of catalog 1.4.0: paused"
    assert (paused["diff"]["before"], paused["diff"]["after"]["note"]) == ({}, "shift change")
    written = run(rollout_record, state="written", token=token, record=record(step=2))
    assert (written["control"]["flag"], written["control"]["by"]) == ("pause", "ops")
    beat = run(rollout_lock, state="renewed", token=token)
    assert (beat["changed"], beat["control"]["flag"], beat["lock"]["expires_in"]) == (False, "pause", 45.0)
    run(rollout_control, flag="promote", by="ops")
    cleared = run(rollout_control, flag="clear", token=token)
    assert (cleared["changed"], cleared["control"]) == (True, None)
    seen = run(rollout_record)
    assert (seen["changed"], seen["open_record"]) == (False, record(step=2))
    assert "token" not in json.dumps(seen["lock"])
    assert [one["what"].split()[0] for one in seen["audit"]] == ["promote", "pause"]
    assert run(rollout_record, state="closed", token=token, record=ended())["changed"]
    assert run(rollout_record, state="closed", token=token, record=ended()).get("failed") is None
    last = run(rollout_record)
    assert (last["lock"], last["open_record"], last["history"]) == (None, None, [ended()])


def test_record_comes_back_as_it_was_sent(run: Run) -> None:
    token = opened(run)["token"]
    odd = record(token=token, password="hush", nested={"a": [None, True, 1.5, "ä"]}, empty={})
    run(rollout_record, state="written", token=token, record=odd)
    assert run(rollout_record)["open_record"] == odd


def test_token_is_not_cut_out_of_results(run: Run) -> None:
    token = opened(run)["token"]
    run(rollout_record, state="written", token=token, record=record())
    run(rollout_control, flag="pause", note=f"by the run with {token}")
    written = run(rollout_record, state="written", token=token, record=record())
    assert written["control"]["note"] == f"by the run with {token}"


def test_records_stay_out_of_the_log(run: Run, logged: list[str]) -> None:
    token = opened(run)["token"]
    run(rollout_record, state="written", token=token, record=record(text="x" * 100_000))
    assert logged
    assert max(map(len, logged)) < 2 * rollout_record.LOGGED


# --- the kinds of failure -------------------------------------------------------------------------------------------

KINDS = {"locked", "lock_lost", "store_error"}


def kind(result: dict[str, Any]) -> set[str]:
    assert result["failed"]
    return {name for name in KINDS if result.get(name)}


@pytest.mark.parametrize(("module", "state"), [(rollout_record, "opened"), (rollout_lock, "acquired")])
@pytest.mark.parametrize("check", [False, True])
def test_locked_tells_by_whom(run: Run, module: Any, state: str, check: bool) -> None:
    token = opened(run)["token"]
    refused = run(module, state=state, holder=OTHER, patient=False, check=check)
    assert kind(refused) == {"locked"}
    assert refused["lock"]["holder"] == {**HOLDER, "rollout_id": ""}
    assert token not in json.dumps(refused)
    assert "ansible-playbook mesops.platform.unlock" in refused["msg"]
    taken = run(module, state=state, holder=OTHER, takeover=refused["lock"]["id"], check=check)
    assert (taken["changed"], "token" in taken) == (True, not check)
    now = run(rollout_lock)["lock"]["holder"]["user"]
    assert now == ("deploy" if check else "ops")


def test_patience_ends_with_the_lease_of_a_holder_that_is_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(run)
    now = [0.0]
    wall = time.time()

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(options, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(
        options,
        "FileStore",
        lambda files: FileStore(files, clock=lambda: wall + now[0]),
    )
    assert run(rollout_record, state="opened", holder=OTHER)["lock"]["holder"]["user"] == "ops"
    assert 44 < now[0] < 47
    assert run(rollout_lock, state="acquired", holder=HOLDER)["lock"]["holder"]["user"] == "deploy"
    assert 88 < now[0] < 94


@pytest.mark.parametrize("check", [False, True])
def test_lock_that_was_lost(run: Run, check: bool) -> None:
    opened(run)
    for module, arguments in (
        (rollout_record, {"state": "written", "record": record()}),
        (rollout_record, {"state": "closed", "record": ended()}),
        (rollout_lock, {"state": "renewed"}),
        (rollout_control, {"flag": "clear"}),
    ):
        refused = run(module, token="0" * 32, check=check, **arguments)
        assert kind(refused) == {"lock_lost"}
        assert refused.get("lock", {}).get("holder", {}).get("user") == "deploy"
    assert run(rollout_record)["history"] == []


def test_store_that_cannot_be_used(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rollouts").write_text("")
    for module, arguments in (
        (rollout_record, {}),
        (rollout_record, {"state": "opened", "holder": HOLDER}),
        (rollout_lock, {}),
        (rollout_control, {"flag": "pause"}),
    ):
        assert kind(run(module, **arguments)) == {"store_error"}


def test_lock_is_let_go_when_the_rest_cannot_be_read(run: Run, tmp_path: Path) -> None:
    token = opened(run)["token"]
    run(rollout_record, state="closed", token=token, record=ended())
    damaged = tmp_path / "rollouts/catalog/records/r1.json"
    damaged.write_text("{")
    assert kind(opened(run)) == {"store_error"}
    damaged.unlink()
    assert run(rollout_lock)["lock"] is None


@pytest.mark.parametrize(
    ("module", "arguments", "says"),
    [
        (rollout_lock, {"service": "../x"}, "is no plain name"),
        (rollout_record, {"state": "opened", "holder": HOLDER, "ttl": 0.5}, "ttl 0.5 is out of range; give 1 to 3600"),
        (rollout_record, {"state": "opened"}, "holder"),
        (rollout_record, {"state": "written", "token": "x"}, "record"),
        (rollout_lock, {"state": "acquired"}, "holder"),
        (rollout_lock, {"state": "released"}, "token"),
        (rollout_lock, {"directory": "rollouts"}, "is no absolute path"),
        (rollout_lock, {"timeout": 0}, "timeout 0 is not positive"),
        (rollout_lock, {"backend": "etcd"}, "endpoints"),
        (rollout_lock, {"backend": "etcd", "endpoints": ["pg-1:2379"]}, "'pg-1:2379' is no URL of an etcd member"),
        (rollout_lock, {"backend": "etcd", "endpoints": ["http://x"], "prefix": "x y"}, "prefix 'x y' is no path"),
        (rollout_record, {"keep": 0}, "keep 0 is too small; give 1 or more"),
        (rollout_record, {"history": -1}, "history -1 is too small; give 0 or more"),
        (rollout_control, {"flag": "clear"}, "token"),
        (rollout_control, {"flag": "pause"}, "no rollout of catalog is open, so there is nothing to pause"),
    ],
)
def test_what_is_wrong_with_the_request_is_said_and_nothing_is_written(
    run: Run, tmp_path: Path, module: Any, arguments: dict[str, Any], says: str
) -> None:
    refused = run(module, **arguments)
    assert kind(refused) == set()
    assert says in refused["msg"]
    assert os.listdir(tmp_path) == []


# --- check mode and idempotence -------------------------------------------------------------------------------------


def test_check_mode_changes_nothing_and_foretells(run: Run, tmp_path: Path) -> None:
    token = opened(run)["token"]
    run(rollout_record, state="written", token=token, record=record())
    run(rollout_control, flag="promote", by="ops")
    before = files(tmp_path)
    for module, arguments in (
        (rollout_record, {"state": "written", "token": token, "record": record(step=2)}),
        (rollout_record, {"state": "closed", "token": token, "record": ended()}),
        (rollout_lock, {"state": "released", "token": token}),
        (rollout_lock, {"state": "broken"}),
        (rollout_control, {"flag": "abort"}),
        (rollout_control, {"flag": "clear", "token": token}),
    ):
        assert run(module, check=True, **arguments)["changed"]
    assert not run(rollout_lock, check=True, state="renewed", token=token)["changed"]
    assert files(tmp_path) == before


def test_check_mode_foretells_a_fresh_store(run: Run, tmp_path: Path) -> None:
    assert run(rollout_record, check=True, state="opened", holder=HOLDER)["changed"]
    assert run(rollout_lock, check=True, state="acquired", holder=HOLDER)["changed"]
    assert not run(rollout_lock, check=True, state="broken")["changed"]
    assert not run(rollout_lock, check=True, state="released", token="x")["changed"]
    assert os.listdir(tmp_path) == []


def test_what_is_repeated_changes_nothing(run: Run) -> None:
    token = opened(run)["token"]
    run(rollout_record, state="written", token=token, record=record())
    for flag, told in (
        ("resume", "was not paused"),
        ("pause", "was paused already"),
        ("resume", "was not paused"),
        ("promote", "was promoted already"),
        ("abort", "was aborted already"),
    ):
        run(rollout_control, flag=flag)
        for check in (False, True):
            again = run(rollout_control, flag=flag, check=check)
            assert (again["changed"], again["diff"]["before"]) == (False, again["diff"]["after"])
            assert again["msg"] == f"rollout r1 of catalog 1.4.0: {told}"
    assert [run(rollout_lock, state="released", token=token)["changed"] for _ in range(2)] == [True, False]
    opened(run)
    broken = [run(rollout_lock, state="broken", by="ops", reason="gone") for _ in range(2)]
    assert [one["changed"] for one in broken] == [True, False]
    assert (broken[0]["lock"]["holder"]["user"], broken[0]["diff"]["after"], broken[1]["lock"]) == ("deploy", {}, None)


# --- options --------------------------------------------------------------------------------------------------------


def test_documented_options_are_the_options() -> None:
    for text, arguments in (
        (ModuleDocFragment.DOCUMENTATION, options.STORE_ARGUMENTS),
        (ModuleDocFragment.LOCK, options.LOCK_ARGUMENTS),
    ):
        documented = safe_load(text)["options"]
        assert set(documented) == set(arguments)
        for name, option in documented.items():
            for key in ("type", "default", "choices", "elements"):
                assert option.get(key) == arguments[name].get(key), (name, key)
            for inner, found in option.get("suboptions", {}).items():
                argument = arguments[name]["options"][inner]
                assert found["type"] == argument["type"]
                assert (found.get("default"), found.get("required", False)) == (
                    argument.get("default"),
                    argument.get("required", False),
                )


def parameters(**more: Any) -> dict[str, Any]:
    return {**{name: one.get("default") for name, one in options.STORE_ARGUMENTS.items()}, "service": "catalog", **more}


def test_options_lead_to_the_store_they_name(tmp_path: Path) -> None:
    found = options.open_store(parameters(directory=str(tmp_path), timeout=3.0))
    assert isinstance(found, FileStore)
    assert (found.files.base, found.files.timeout) == (f"{tmp_path}/catalog", 3.0)
    found = options.open_store(
        parameters(backend="etcd", endpoints=["http://a:2379/", "http://b"], prefix="/x/y/", username="u", password="p")
    )
    assert isinstance(found, EtcdStore)
    gateway = found.keys.gateway
    assert (found.keys.prefix, gateway.endpoints, gateway.timeout) == (
        "/x/y",
        ("http://a:2379", "http://b"),
        6.0,
    )
    assert (gateway.username, gateway.password) == ("u", "p")


@pytest.mark.parametrize("prefix", ["", "/", "x", "/x//y", "/x y", "/x/\n"])
def test_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(Refused, match="is no path of plain names"):
        options.open_store(parameters(backend="etcd", endpoints=["http://a"], prefix=prefix))


def test_holder_is_taken_as_it_is_given() -> None:
    holder = {
        **HOLDER,
        "rollout_id": "r1",
        "what": "rollout of catalog 1.4.0",
        "boot": "boot 1",
        "process_started": "777",
    }
    assert options.holder_of({"holder": holder}) == ALICE
