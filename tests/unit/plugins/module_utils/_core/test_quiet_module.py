# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret of a module's arguments is in the system's log or in its result, whether it fails or not."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

SECRET = "it's a \"secret\\"
PROBE = {
    "type": "http",
    "url": "http://127.0.0.1:1/",
    "username": "me",
    "password": SECRET,
    "headers": {"Authorization": f"Bearer {SECRET}"},
}
RELEASE = {"service": "catalog", "state": "active", "version": "1", "root": "/nonexistent"}
DAEMON = {
    "name": "catalog.service",
    "state": "prepared",
    "contents": [{"path": "/nonexistent/catalog/key", "content": SECRET, "secret": True}],
    "_ansible_check_mode": True,
}
CONFIG = {"content": f"  user ops password {SECRET}\n", "secrets": [SECRET], "binary": "/nonexistent"}


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("postgres_access", {"users": [{"name": "catalog", "password": SECRET}]}),
        ("health_gate", {"probes": {"page": PROBE}}),
        ("health_gate", {"probes": {"page": {**PROBE, "status": "none"}}}),
        ("app_release", {**RELEASE, "ready": {"until": {"page": PROBE}}}),
        ("app_release", {**RELEASE, "ready": {"until": {"page": {**PROBE, "status": "none"}}}}),
        ("daemon", DAEMON),
        ("daemon", {**DAEMON, "contents": [{"path": "/nonexistent/key", "text": SECRET}]}),
        ("haproxy_config", CONFIG),
        ("haproxy_config", {**CONFIG, "files": "no list"}),
    ],
)
def test_secrets_stay_with_the_module(
    module: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged: list[Any] = []

    def log(_self: basic.AnsibleModule, *message: Any, **more: Any) -> None:
        logged.extend([*message, more])

    monkeypatch.setattr(basic.AnsibleModule, "log", log)
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda *_args, **_named: "/bin/false")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    main = importlib.import_module(f"ansible_collections.mesops.platform.plugins.modules.{module}").main
    verbose = {"_ansible_inject_invocation": True, "_ansible_verbosity": 4, "_ansible_diff": True}
    with patch_module_args({**arguments, **verbose}), pytest.raises(SystemExit):
        main()
    told = f"{logged} {capsys.readouterr().out}"
    assert '"failed"' in told or '"changed"' in told
    for form in (SECRET, repr(SECRET), repr(SECRET)[1:-1], '"secret', r"\"secret"):
        assert form not in told
