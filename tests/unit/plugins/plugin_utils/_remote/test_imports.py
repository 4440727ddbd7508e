# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import textwrap

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._remote import imports
from ansible_collections.mesops.platform.plugins.plugin_utils._remote.imports import PACKAGE, NotCarried

TREE = {
    "flat": "import json\n",
    "other": "from . import flat\nVALUE = 1\n",
    "_core.errors": "class Refused(Exception): ...\n",
    "_core.files": "from .errors import Refused\nfrom ..other import VALUE\n",
    "_a.b.c": "from ... import flat\nfrom .._sibling import x\n",
    "_a._sibling": "x = 1\n",
    "late": f"def run():\n    import {PACKAGE}.flat\n",
}


def closure(source: str) -> set[str]:
    """What a module with this source carries, without the package's name."""
    tree = {f"{PACKAGE}.{name}": text for name, text in TREE.items()}
    found = imports.closure("modules/x.py", textwrap.dedent(source), tree.get)
    assert all(found[name] == tree[name] for name in found)
    return {name.removeprefix(f"{PACKAGE}.") for name in found}


@pytest.mark.parametrize(
    ("source", "carried"),
    [
        ("import os, json.decoder\nfrom urllib import parse", set()),
        ("from ansible.module_utils.basic import AnsibleModule", set()),
        (f"from {PACKAGE} import flat", {"flat"}),
        (f"from {PACKAGE} import flat as core, other", {"flat", "other"}),
        (f"from {PACKAGE} import (\n    flat,  # why\n    late,\n)", {"flat", "late"}),
        (f"from {PACKAGE}.other import VALUE", {"other", "flat"}),
        (f"import {PACKAGE}.flat as core", {"flat"}),
        (f"from {PACKAGE}._core.errors import Refused", {"_core.errors"}),
        (f"from {PACKAGE}._core import errors", {"_core.errors"}),
        (f"from {PACKAGE}._core import files", {"_core.files", "_core.errors", "other", "flat"}),
        (f"from {PACKAGE}._a.b import c", {"_a.b.c", "_a._sibling", "flat"}),
        (f"def f():\n    if 1:\n        from {PACKAGE} import late", {"late", "flat"}),
        (f"class A:\n    from {PACKAGE} import flat", {"flat"}),
        (f"try:\n    from {PACKAGE} import flat\nexcept ImportError:\n    pass", {"flat"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import yaml", set()),
        (f"import typing\nif typing.TYPE_CHECKING:\n    import yaml\nelse:\n    from {PACKAGE} import flat", {"flat"}),
    ],
)
def test_all_that_a_module_imports_is_carried(source: str, carried: set[str]) -> None:
    assert closure(source) == carried


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("from ansible.module_utils.urls import open_url", "ansible.module_utils.urls"),
        ("def f():\n    from ansible.module_utils.urls import open_url", "ansible.module_utils.urls"),
        ("import ansible.module_utils.basic.more", "ansible.module_utils.basic.more"),
        ("from ansible.module_utils import basic", "ansible.module_utils"),
        ("import yaml", "yaml"),
        ("import tomllib", "tomllib"),
        ("try:\n    import yaml\nexcept ImportError:\n    yaml = None", "yaml"),
        (f"from {PACKAGE} import nowhere", "nowhere"),
        (f"from {PACKAGE}.nowhere import x", "nowhere"),
        (f"from {PACKAGE}._core import nowhere", "nowhere"),
        ("from ansible_collections.mesops.platform.plugins.plugin_utils._remote import bundle", "plugin_utils"),
        ("from ansible_collections.community.general.plugins.module_utils import x", "community.general"),
        ("import importlib\nimportlib.import_module('yaml')", "import_module()"),
        ("__import__('yaml')", "__import__()"),
    ],
)
def test_what_a_host_does_not_have_is_refused_when_the_program_is_built(source: str, named: str) -> None:
    with pytest.raises(NotCarried, match=r"^modules/x\.py imports ") as refusal:
        closure(source)
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_relative_that_imports_what_a_host_does_not_have_is_named() -> None:
    sources = {f"{PACKAGE}.a": f"from {PACKAGE} import b", f"{PACKAGE}.b": "import yaml"}
    with pytest.raises(NotCarried, match=f"^{re.escape(PACKAGE)}.b imports yaml"):
        imports.closure("modules/x.py", f"from {PACKAGE} import a", sources.get)


def test_imports_may_go_round_in_circles() -> None:
    sources = {f"{PACKAGE}.a": f"from {PACKAGE} import b", f"{PACKAGE}.b": f"from {PACKAGE} import a"}
    found = imports.closure("modules/x.py", f"from {PACKAGE} import a", sources.get)
    assert set(found) == set(sources)
