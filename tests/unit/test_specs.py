# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specifications and defaults of every role say the same, key by key and value by value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path.parent.parent for path in (Path(__file__).parents[2] / "roles").glob("*/defaults/main.yml"))
EVERY_ROLE = sorted(path for path in (Path(__file__).parents[2] / "roles").iterdir() if path.is_dir())


def options(role: Path) -> dict[str, Any]:
    spec = yaml.safe_load((role / "meta/argument_specs.yml").read_text())
    found: dict[str, Any] = spec["argument_specs"]["main"]["options"]
    return found


def defaults(role: Path) -> dict[str, Any]:
    return yaml.safe_load((role / "defaults/main.yml").read_text()) or {}


def commented(role: Path) -> set[str]:
    """Variables without a default: they stand in the defaults file as a comment, `# name: example`."""
    return set(re.findall(r"^# ([a-z][a-z0-9_]*):", (role / "defaults/main.yml").read_text(), re.MULTILINE))


def test_there_are_roles() -> None:
    assert {"haproxy", "app", "etcd", "postgres"} <= {role.name for role in ROLES}


def computed(value: Any) -> bool:
    """Whether a default is an expression that a reader of the reference cannot take for a value."""
    return isinstance(value, str) and "{{" in value


def shared(value: Any) -> re.Match[str] | None:
    """A variable of the whole estate that stands behind a default, and what holds without it."""
    return re.fullmatch(r"\{\{ (mesops_\w+) \| default\((.*?)\) \}\}", str(value))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_same_variables(role: Path) -> None:
    said = {name for name, option in options(role).items() if "default" in option}
    unsaid = {name for name, value in defaults(role).items() if computed(value)} - said
    assert set(defaults(role)) == said | unsaid
    described = {name: str(options(role)[name]["description"]) for name in unsaid}
    assert [name for name, text in described.items() if "By default" not in " ".join(text.split())] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_an_expression_is_no_documented_default_but_of_a_text(role: Path) -> None:
    bad = [
        name
        for name, option in options(role).items()
        if computed(option.get("default"))
        and ("__" in option["default"] or (option["type"] not in ("str", "path") and option.get("elements") != "str"))
    ]
    assert bad == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_same_values(role: Path) -> None:
    values = defaults(role)
    differing = {
        name: (values[name], option["default"])
        for name, option in options(role).items()
        if "default" in option and values[name] != option["default"] and not shared(values[name])
    }
    assert differing == {}
    for name, option in options(role).items():
        behind = shared(values.get(name))
        if behind and "default" in option and not computed(option["default"]):
            assert yaml.safe_load(behind[2]) == option["default"]
            assert behind[1] in str(option["description"]), f"{name} says that it follows {behind[1]}"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_variables_without_a_default_stand_in_the_defaults_file_as_comments(role: Path) -> None:
    without = {name for name, option in options(role).items() if "default" not in option} - set(defaults(role))
    assert without <= commented(role)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_option_is_both_required_and_defaulted(role: Path) -> None:
    assert [name for name, option in options(role).items() if option.get("required") and "default" in option] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_secrets_are_marked_as_such(role: Path) -> None:
    secrets = {name: option for name, option in options(role).items() if re.search(r"_(?:password|secret_key)$", name)}
    assert [name for name, option in secrets.items() if not option.get("no_log")] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_public_variables_carry_the_roles_name(role: Path) -> None:
    assert [name for name in options(role) if not name.startswith(f"{role.name}_")] == []


def used(role: Path) -> str:
    """All of a role that does something."""
    parts = [path for part in ("tasks", "templates", "vars", "handlers") for path in (role / part).rglob("*")]
    return "\n".join(path.read_text() for path in [role / "defaults/main.yml", *parts] if path.is_file())


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_is_used(role: Path) -> None:
    text = used(role)
    given = set(options(role)) | {
        name for path in (role / "vars").glob("*.yml") for name in yaml.safe_load(path.read_text()) or {}
    }
    # Once where it is set, and somewhere else.
    once = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    rest = {name: re.sub(rf"^{name}:", "", once, flags=re.MULTILINE) for name in given}
    assert sorted(name for name, one in rest.items() if not re.search(rf"\b{name}\b", one)) == []


@pytest.mark.parametrize("role", EVERY_ROLE, ids=lambda role: role.name)
def test_every_role_explains_itself(role: Path) -> None:
    assert (role / "README.md").stat().st_size > 200
    assert (role / "meta/argument_specs.yml").exists()


def test_no_role_or_plugin_knows_the_reference_service() -> None:
    root = Path(__file__).parents[2]
    word = re.compile(r"\b(mes|crm|shop)\b", re.IGNORECASE)
    mentions = [
        f"{path.relative_to(root)}:{number}"
        for part in ("roles", "plugins")
        for path in sorted((root / part).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if word.search(line)
    ]
    assert mentions == []
