# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that a rollout runs do nothing for a run whose successor has come, or that goes by another store."""

from __future__ import annotations

import getpass
import io
import json
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.servers import RuntimeFailure
from ansible_collections.mesops.platform.plugins.module_utils._record import fencing
from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fence, Fenced
from ansible_collections.mesops.platform.plugins.modules import app_migration, app_release, haproxy_server

STORE = "lb-1:/var/lib/mesops/rollouts #s0123456789ab"
RUN = {"fence": 10, "fence_store": STORE}
RELEASE = {"service": "catalog", "owner": getpass.getuser()}
MIGRATION = {"service": "catalog", "version": "2", "step": "expand", "command": "bin/x"}
SERVER = {"service": "catalog", "backend": ["catalog"], "server": ["app-1"]}
CASES: list[tuple[ModuleType, dict[str, Any]]] = [
    *((app_release, {**RELEASE, "state": state}) for state in ("read", "prepared", "pruned", "rolled_back")),
    (app_release, {**RELEASE, "state": "installed", "version": "2"}),
    (app_release, {**RELEASE, "state": "active", "version": "2"}),
    (app_migration, MIGRATION),
    *((haproxy_server, {**SERVER, "state": state}) for state in ("drain", "ready", "maint")),
    (haproxy_server, {**SERVER, "weight": "10%"}),
    (haproxy_server, {"service": "catalog", "backend": ["catalog"]}),
]


@pytest.fixture(autouse=True)
def fences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fencing, "DIRECTORY", str(tmp_path / "fences"))
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda *_args, **_named: None)
    # There is no HAProxy here, and the modules would wait for it.
    monkeypatch.setattr(haproxy_server, "change", unanswered)


def unanswered(*_arguments: Any) -> Any:
    raise RuntimeFailure("no HAProxy is here")


def run(module: ModuleType, tmp_path: Path, **arguments: Any) -> dict[str, Any]:
    own = {"root": str(tmp_path / "opt")}
    if module is haproxy_server:
        own = {"master_socket": str(tmp_path / "socket")}
    output = io.StringIO()
    with patch_module_args({**own, **arguments}), redirect_stdout(output), suppress(SystemExit):
        module.main()
    found: dict[str, Any] = json.loads(output.getvalue())
    return found


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("number", "store"), [(11, STORE), (1, "pg #sba9876543210")])
def test_nothing_is_done_for_a_run_that_is_not_the_one(
    tmp_path: Path, case: tuple[ModuleType, dict[str, Any]], number: int, store: str, check: bool
) -> None:
    module, arguments = case
    Fence("catalog", number, store).claim()
    found = run(module, tmp_path, **arguments, **RUN, _ansible_check_mode=check)
    assert found["failed"]
    assert found["fenced"]
    with pytest.raises(Fenced) as why:
        Fence("catalog", 10, STORE).check()
    assert found["msg"] == str(why.value)
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize(("module", "arguments"), [CASES[0], CASES[-1], CASES[-2]])
def test_even_a_look_keeps_earlier_runs_out(tmp_path: Path, module: ModuleType, arguments: dict[str, Any]) -> None:
    """What a run sees when it begins must not be changed by its predecessor any more."""
    found = run(module, tmp_path, **arguments, **RUN)
    assert not found.get("fenced")
    assert Fence("catalog", 9, STORE).superseded()
    assert not Fence("catalog", 10, STORE).superseded()


def test_a_look_in_check_mode_leaves_no_trace(tmp_path: Path) -> None:
    run(app_release, tmp_path, **RELEASE, state="read", **RUN, _ansible_check_mode=True)
    assert not (tmp_path / "fences").exists()


def test_reading_a_host_without_the_service_makes_nothing(tmp_path: Path) -> None:
    found = run(app_release, tmp_path, service="catalog", state="read", owner="nobody-of-that-name")
    assert (found["changed"], found["current"], found["releases"]) == (False, None, [])
    assert list(tmp_path.iterdir()) == []


def test_reading_leaves_what_lies_there(tmp_path: Path) -> None:
    base = tmp_path / "opt" / "catalog"
    (base / "releases" / ".new-1").mkdir(parents=True)
    (base / "releases" / "1").mkdir()
    found = run(app_release, tmp_path, **RELEASE, state="read")
    assert (found["changed"], found["actions"]) == (False, [])
    assert (base / "releases" / ".new-1").exists()
