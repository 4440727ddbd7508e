# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every plugin explains itself, truly, and carries its licence."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils import basic
from ansible_collections.mesops.platform.plugins.action import health_gate, rollout, rollout_info
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import setup
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import POLICY, check_policy
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import (
    DEFAULT_LIMITS,
    DEFAULTS,
    Service,
)
from ansible_collections.mesops.platform.plugins.plugin_utils._service.services import app_service_plan

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "__init__")
ACTIONS = {"rollout", "rollout_info"}
"""Modules that are documentation only; the action plugin of the same name does all of it."""
SOURCES = sorted(path for path in (ROOT / "plugins").rglob("*.py") if path.stem != "__init__")


Documents = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def documents() -> Documents:
    names = [f"mesops.platform.{path.stem}" for path in MODULES]
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-doc", "--json", "-t", "module", *names],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    loaded: Documents = json.loads(done.stdout)
    return loaded


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_module_is_documented(path: Path, documents: Documents) -> None:
    document = documents[f"mesops.platform.{path.stem}"]
    assert "error" not in document, document
    doc = document["doc"]
    assert isinstance(doc, dict)
    assert doc["short_description"]
    assert {"check_mode", "diff_mode"} <= set(doc["attributes"])
    assert "mesops.platform." in str(document["examples"])
    assert document["return"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_was_added_in_a_version_that_is_still_to_come(path: Path) -> None:
    ours = tuple(map(int, yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"].split(".")))
    for added in re.findall(r"^ *version_added: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        assert tuple(map(int, added.strip("'\"").split("."))) <= ours, added


# ------------------------------------------------------------------------------------------------------------- options

KEYS = {"type": "str", "required": False, "default": None, "choices": None, "elements": None, "aliases": None}


class Asked(Exception):
    """A module has said what it takes."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.spec = spec


def plain(value: Any) -> Any:
    """Sequences of either kind are the same, and so are numbers."""
    return list(value) if isinstance(value, (list, tuple)) else value


def of_module(spec: Mapping[str, Any]) -> dict[str, Any]:
    """An argument specification, in one form."""
    return {
        name: {
            **{key: plain(option.get(key, default)) for key, default in KEYS.items()},
            "options": of_module(option.get("options") or {}),
        }
        for name, option in spec.items()
    }


def of_document(options: Mapping[str, Any]) -> dict[str, Any]:
    """Documented options, in the same form."""
    return of_module({name: {**one, "options": one.get("suboptions")} for name, one in options.items()})


def module_spec(name: str, patch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """What a module really takes: it is begun, and stopped where it says so."""

    def begin(_self: object, argument_spec: Mapping[str, Any], **_more: Any) -> None:
        raise Asked(argument_spec)

    module = importlib.import_module(f"ansible_collections.mesops.platform.plugins.modules.{name}")
    patch.setattr(basic.AnsibleModule, "__init__", begin)
    with pytest.raises(Asked) as asked:
        module.main()
    return asked.value.spec


def options_of(documents: Documents, name: str) -> dict[str, Any]:
    found: dict[str, Any] = documents[f"mesops.platform.{name}"]["doc"]["options"]
    return found


@pytest.mark.parametrize("name", [path.stem for path in MODULES if path.stem not in ACTIONS])
def test_documented_options_are_those_of_the_module(
    name: str, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of_document(options_of(documents, name)) == of_module(module_spec(name, monkeypatch))


def test_the_action_plugin_of_a_module_takes_the_same_options(documents: Documents) -> None:
    assert set(health_gate.OPTIONS) == set(options_of(documents, "health_gate"))


class Reading(dict[str, Any]):
    """Options of a task that note which of them are read."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def action_arguments(documents: Documents, name: str, *, defaults: bool) -> Reading:
    """The required options of a module that an action plugin carries out, and all documented defaults if so told."""
    service = app_service_plan({"catalog": {"port": 3000, "command": "bin/catalog"}}, ["catalog"])["services"][0]
    given: dict[str, Any] = {"app": service, "hosts": ["app-1", "app-2"], "balancers": ["lb-1"]}
    options = options_of(documents, name)
    assert {option for option, one in options.items() if one.get("required")} == set(given)
    found = {option: one["default"] for option, one in options.items() if one.get("default") is not None}
    return Reading({**given, **(found if defaults else {})})


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_documented_defaults_are_those_of_the_action(name: str, documents: Documents) -> None:
    told, untold = (action_arguments(documents, name, defaults=defaults) for defaults in (True, False))
    settings, same = (setup.settings_of(one, "/", {}) for one in (told, untold))
    assert settings == same
    hostvars: dict[str, Any] = {"lb-1": {}}
    assert setup.store_of(told, settings, "x", hostvars) == setup.store_of(untold, same, "x", hostvars)


def test_documented_defaults_are_those_of_what_the_action_plugin_itself_looks_at(documents: Documents) -> None:
    assert options_of(documents, "rollout")["state"]["default"] == rollout.STATE
    assert options_of(documents, "rollout_info")["history"]["default"] == rollout_info.HISTORY


def test_defaults_of_the_role_are_those_of_the_action(documents: Documents) -> None:
    """Both show them to a user, each in a specification of its own."""
    role = yaml.safe_load((ROOT / "roles/rollout/meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    module = options_of(documents, "rollout")
    shared = {name for name, option in module.items() if "default" in role["options"].get(f"rollout_{name}", {})}
    assert {"exclude", "lock_ttl", "store"} <= shared
    for name in shared - {"balancers", "report"}:
        assert role["options"][f"rollout_{name}"]["default"] == module[name]["default"], name


def defaults_on_page(heading: str) -> dict[str, Any]:
    """The second column of the table below a heading of the role app's page, by key; None where it is no value."""
    page = (ROOT / "roles/app/README.md").read_text(encoding="utf-8")
    below = page[page.index(f"{heading}\n") :].partition("\n| key | default | meaning |\n")[2].partition("\n\n")[0]
    found = {}
    for key, default in re.findall(r"^\| `(\w+)` \| (.*?) \|", below, re.MULTILINE):
        values = re.findall(r"`([^`]*)`", default) if default.startswith("`") else []
        found[key] = yaml.safe_load(values[0] if len(values) == 1 else f"{{{', '.join(values)}}}") if values else None
    return found


def test_defaults_of_a_service_on_its_page_are_those_of_the_code() -> None:
    said = {key: value for key, value in defaults_on_page("# app").items() if key in DEFAULTS}
    assert said == {**DEFAULTS, "limits": DEFAULT_LIMITS}


def test_defaults_of_a_rollout_on_its_page_are_those_of_the_code() -> None:
    service = Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")
    said = defaults_on_page("## How it is rolled out")
    assert set(said) == set(POLICY)

    def settings(given: Mapping[str, Any]) -> Settings:
        return Settings(service, ("app-1",), ("lb-1",), **check_policy(given, {}, service))

    assert settings(said) == settings({})


def test_documented_options_are_those_of_the_action(documents: Documents) -> None:
    """All that a rollout reads, but for what the action plugin itself looks at."""
    given = action_arguments(documents, "rollout", defaults=True)
    settings = setup.settings_of(given, "/", {})
    setup.store_of(given, settings, "x", {"lb-1": {}})
    assert given.read | {"state", "report", "configuration"} == set(options_of(documents, "rollout"))
    assert set(options_of(documents, "rollout_info")) - given.read == {"patroni", "history"}


# ------------------------------------------------------------------------------------------------- examples and results


def tasks(value: Any) -> Iterator[dict[str, Any]]:
    """Every task of an example, in blocks and plays too."""
    for one in value:
        assert isinstance(one, dict)
        yield one
        for key in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always"):
            yield from tasks(one.get(key) or [])


def check_given(given: Mapping[str, Any], options: Mapping[str, Any], where: str) -> None:
    """Options of an example exist, are complete, and have values of their choices."""
    assert set(given) <= set(options), where
    required = {name for name, option in options.items() if option.get("required")}
    assert required <= set(given), where
    for name, value in given.items():
        option, place = options[name], f"{where}.{name}"
        written = isinstance(value, str) and "{{" in value
        if option.get("choices") and not written:
            assert value in option["choices"], place
        if option.get("suboptions") and not written:
            for one in value if option["type"] == "list" else [value]:
                check_given(one, option["suboptions"], place)


@pytest.mark.parametrize("name", [path.stem for path in MODULES])
def test_examples_use_options_that_exist(name: str, documents: Documents) -> None:
    examples = list(tasks(yaml.safe_load(documents[f"mesops.platform.{name}"]["examples"])))
    used = [(key, task[key]) for task in examples for key in task if key.startswith("mesops.platform.")]
    assert f"mesops.platform.{name}" in dict(used)
    for full, given in used:
        other = full.removeprefix("mesops.platform.")
        assert other in {path.stem for path in MODULES}
        check_given(given, options_of(documents, other), full)
    for task in examples:
        assert task["name"], "a task of an example says what it does"


def check_returned(values: Mapping[str, Any], where: str) -> None:
    """Every value has a description and a type, inside too."""
    for name, value in values.items():
        place = f"{where}.{name}"
        assert value["description"], place
        assert value["type"] in ("bool", "int", "float", "str", "list", "dict"), place
        assert value["type"] != "list" or value["elements"], place
        check_returned(value.get("contains") or {}, place)


@pytest.mark.parametrize("name", [path.stem for path in MODULES])
def test_results_are_described(name: str, documents: Documents) -> None:
    returned = documents[f"mesops.platform.{name}"]["return"]
    check_returned(returned, name)
    for key, value in returned.items():
        assert value.get("returned"), key


# ------------------------------------------------------------------------------------------------------------- licences


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_source_carries_its_licence(path: Path) -> None:
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in path.read_text()
