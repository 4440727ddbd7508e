# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages tell people to type what exists: links lead somewhere; playbooks, variables, targets, scenarios are there.

And what they show of an inventory is what the roles take.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import package
import pytest
import typed
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.mesops.platform.plugins.filter.app_backends import app_backends
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer import model
from ansible_collections.mesops.platform.plugins.plugin_utils._service.policies import policy_errors
from ansible_collections.mesops.platform.plugins.plugin_utils._service.service_settings import Service
from ansible_collections.mesops.platform.plugins.plugin_utils._service.services import app_service_plan

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    if not name.startswith("docs/reference/")
)
RELEASES = "molecule/operations/tests/test_release_pages.py"
TYPED = {
    "README.md": ("molecule/galaxy/tests/test_tutorial.py", "molecule/ssh/tests/test_ssh.py", RELEASES),
    "docs/operations.md": ("molecule/operations/tests/test_operations.py",),
    "docs/quickstart.ru.md": ("molecule/galaxy/tests/test_tutorial.py", RELEASES),
    "docs/rollouts.md": (RELEASES,),
    "docs/telemetry.md": ("molecule/telemetry/tests/test_journey.py", "tests/unit/test_typed_pages.py"),
    "docs/tutorials/failed-rollout.md": (RELEASES,),
    "docs/tutorials/first-service.md": ("molecule/galaxy/tests/test_tutorial.py",),
    "docs/tutorials/move-over.md": ("molecule/move-over/tests/test_move_over.py",),
    "docs/your-service.md": ("tests/unit/test_typed_pages.py", RELEASES),
    "roles/rollout/README.md": (RELEASES,),
}
"""The pages with commands, and the tests that type them."""
COMMAND = re.compile(r"^\s*[$#] (?P<text>.+(?:\\\n.+)*)$", re.MULTILINE)


def console(page: Path) -> list[str]:
    """All commands of a page, each on one line."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s*\\\n\s*", " ", found["text"]) for block in blocks for found in COMMAND.finditer(block)]


@functools.cache
def options() -> dict[str, dict[str, Any]]:
    """Every option of every role, with its specification."""
    specs = [yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    return {
        name: option
        for spec in specs
        for point in spec["argument_specs"].values()
        for name, option in point.get("options", {}).items()
    }


@functools.cache
def variables() -> set[str]:
    """Every option of every role, and the variables of the whole estate that roles and playbooks ask for."""
    texts = [
        path.read_text() for part in ("roles", "playbooks", "inventories") for path in (ROOT / part).rglob("*.yml")
    ]
    return set(options()) | set(re.findall(r"\b(?:mesops|artifacts|mes)_\w+", "\n".join(texts)))


# ------------------------------------------------------------------------------------------------------- what is linked

OURS = re.compile(r"https://github\.com/mesops/platform/(?P<kind>blob|tree)/main/(?P<path>[^#]+)(?:#(?P<anchor>.*))?")
PICTURE = re.compile(r"!\[(?P<words>[^\]]*)\]\((?P<link>[^)\s]+)\)")
OUR_PICTURES = "https://raw.githubusercontent.com/mesops/platform/main/"
LINK = re.compile(r"\]\(([^)\s]+)\)")
SHOWN_ALONE = sorted([ROOT / "README.md", *ROOT.glob("roles/*/README.md")])
"""Galaxy shows these pages by themselves: there a relative link leads nowhere."""


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link may name after the hash."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _hash, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), f"{target}: there is no {found}"
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", SHOWN_ALONE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_that_is_shown_alone_are_absolute(page: Path) -> None:
    assert [link for link in LINK.findall(prose(page)) if "://" not in link and not link.startswith("#")] == []


@pytest.mark.parametrize("page", SHOWN_ALONE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_that_is_shown_alone_has_pictures_and_no_diagram_that_only_the_forge_draws(page: Path) -> None:
    assert "```mermaid" not in page.read_text(encoding="utf-8")
    for picture in PICTURE.finditer(prose(page)):
        assert picture["words"], "a picture that is not there, or not seen, is told in words"
        assert picture["link"].startswith(OUR_PICTURES), picture["link"]
        drawn = ROOT / picture["link"].removeprefix(OUR_PICTURES)
        assert ElementTree.parse(drawn).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_readme_has_a_picture() -> None:
    assert PICTURE.search(prose(ROOT / "README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_absolute_links_into_this_project_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if found := OURS.fullmatch(link):
            path = ROOT / found["path"]
            assert path.is_dir() if found["kind"] == "tree" else path.is_file(), link
            assert not found["anchor"] or found["anchor"] in anchors(path), link


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.is_relative_to(ROOT / "docs")], ids=lambda page: str(page.relative_to(ROOT))
)
def test_a_page_of_the_archive_links_to_what_the_archive_has(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" not in link and not link.startswith("#"):
            found = (page.parent / link.partition("#")[0]).resolve()
            assert package.shipped(str(found.relative_to(ROOT))), link


def test_every_page_stands_in_the_index() -> None:
    index = ROOT / "docs/README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose(index))}
    every = {path for path in (ROOT / "docs").rglob("*") if path.is_file() and path != index}
    assert sorted(every - linked) == []


WALK = re.compile(r"^### [^\n]* (\d) (?:opened|edited)\n(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)
EXAMPLES = {"<type>": "tcp", "<subject>": "hosts"}


def test_walks_are_as_long_as_they_say_and_name_what_exists() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    walks = WALK.findall(text)
    assert len(walks) == text.count("\n### ")
    for count, walk in walks:
        files = re.findall(r"^\d\. `([^`]+)`", walk, re.MULTILINE)
        assert len(files) == int(count), files
        for name in files:
            path = re.sub(r"<\w+>", lambda found: EXAMPLES[found[0]], name)
            assert (ROOT / path).is_file(), name


def test_the_readme_leads_to_the_index() -> None:
    assert "https://github.com/mesops/platform/blob/main/docs/README.md" in LINK.findall(prose(ROOT / "README.md"))
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["documentation"].endswith("/tree/main/docs")


def test_before_the_first_release_pages_say_where_the_archive_comes_from() -> None:
    if "Nothing is released yet" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        for page in ("README.md", "docs/tutorials/first-service.md", "docs/quickstart.ru.md"):
            assert "`make package`" in (ROOT / page).read_text(encoding="utf-8"), page


# ---------------------------------------------------------------------------------------------------- what is typed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_what_exists(page: Path) -> None:
    known = variables()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    scenarios = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")} | {"lint", "unit"}
    for command in console(page):
        for name in re.findall(r"mesops\.platform\.(\w+)", command if "-m mesops" not in command else ""):
            assert (ROOT / f"playbooks/{name}.yml").exists(), command
        for path in re.findall(r"\bplaybooks/(\w+)\.yml", command):
            assert (ROOT / f"playbooks/{path}.yml").exists(), command
        given = re.findall(r"-e \"?(\w+)=", command)
        given += [key for words in re.findall(r"-e '(\{.*?\})'", command) for key in json.loads(words)]
        assert set(given) <= known, command
        if command.startswith("make"):
            assert (
                set(re.findall(r"(?<![\w=./-])([a-z-]+)(?![\w=./-])", command.split("#")[0])) - {"make"} <= targets
            ), command
        run = re.search(r"tools/run\.py ([a-z -]+)", command)
        assert not run or set(run[1].split("#")[0].split()) <= scenarios, command


CONTRIBUTORS = {"docs/contributing.md", "docs/simulation.md"}


def test_pages_with_commands_are_typed() -> None:
    # What contributors type are `make` and its parts, which CI runs.
    assert {str(page.relative_to(ROOT)) for page in PAGES if console(page)} - CONTRIBUTORS == set(TYPED)
    for page, tests in TYPED.items():
        for test in tests:
            assert page in (ROOT / test).read_text(encoding="utf-8"), test


def test_commands_are_found() -> None:
    assert sum(len(console(page)) for page in PAGES) > 40


def shown() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every block of a page that shows variables, and where it stands."""
    for page in PAGES:
        for number, block in enumerate(typed.blocks(page), 1):
            found = yaml.safe_load(block.text) if block.language == "yaml" else None
            if isinstance(found, dict):
                yield f"{page.relative_to(ROOT)}, block {number}", found


def filled(value: Any, text: str | None) -> Any:
    """The value with two hosts for a group's, and a text for what else Ansible would fill in."""
    if isinstance(value, dict):
        return {key: filled(one, text) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, text) for one in value]
    if isinstance(value, str) and value.startswith("{{ groups["):
        return ["app-1", "app-2"]
    if isinstance(value, str) and text and value.startswith("{{ vault_"):
        return "/etc/secret.pem"
    return text if isinstance(value, str) and "{{" in value else value


HOSTVARS = {f"app-{number}": {"mesops_address": f"10.0.0.{number}"} for number in range(1, 5)}
SHOWN = list(shown())


@pytest.mark.parametrize("block", [block for _place, block in SHOWN], ids=[place for place, _block in SHOWN])
def test_variables_that_pages_show_are_taken(block: dict[str, Any]) -> None:
    known = options()
    ours = {name: value for name, value in block.items() if name in known}
    spec = {name: {**known[name], "required": False} for name in ours}
    assert not ArgumentSpecValidator(spec).validate(filled(ours, None)).error_messages
    services = filled(ours.get("app_services", {}), "sha256:" + 64 * "0")
    # A page that is about one key shows only that.
    whole = {name: service for name, service in services.items() if "port" in service}
    assert app_service_plan(whole, [])["errors"] == []
    for name, service in services.items():
        assert policy_errors(service.get("rollout", {}), Service(name, 3000, f"{name}.service", "bin/x", name)) == []
    if "haproxy_services" in ours:
        defaults = yaml.safe_load((ROOT / "roles/haproxy/defaults/main.yml").read_text())
        settings = {name.removeprefix("haproxy_"): filled(value, "10.0.0.9") for name, value in defaults.items()}
        settings |= {"stats_user": "stats", "stats_password": "secret", "apps": app_backends(services)}
        frontends = filled(ours.get("haproxy_frontends", {}), "10.0.0.9")
        model.build(filled(ours["haproxy_services"], "10.0.0.9"), frontends, {}, HOSTVARS, settings)
    prefixes = {name.split("_")[0] for name in known}
    unknown = {name for name in block if "_" in name and name.split("_")[0] in prefixes} - variables()
    assert not unknown


def test_variables_are_found() -> None:
    assert sum(name in options() for _place, block in SHOWN for name in block) > 15
