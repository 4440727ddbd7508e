# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mesops.platform.plugins.modules import postgres_access

SECRET = "it's a \"secret\\"


def test_no_password_reaches_the_system_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged: list[Any] = []

    def log(_self: basic.AnsibleModule, *message: Any, **arguments: Any) -> None:
        logged.extend([*message, arguments])

    monkeypatch.setattr(basic.AnsibleModule, "log", log)
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda *_args, **_named: "/bin/false")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    users = [{"name": "catalog", "password": SECRET}]
    with patch_module_args({"users": users}), pytest.raises(SystemExit):
        postgres_access.main()
    assert logged
    written = f"{logged} {capsys.readouterr().out}"
    for form in (SECRET, repr(SECRET), repr(SECRET)[1:-1], '"secret'):
        assert form not in written
