# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/reference/: every role, module, filter, lookup and playbook, from what they say of themselves.

The same for the table of the types of probes in docs/gates.md.

Run by ``make reference``; a unit test compares the pages with what this would write. Markdown, because it is read on
the forge, which shows nothing of the HTML in antsibull-docs' pages.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import PLACES
from ansible_collections.mesops.platform.plugins.module_utils._probe.probes import TYPES

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs"
SOURCES = {"role": ROOT / "roles"} | {
    kind: ROOT / "plugins" / directory
    for kind, directory in (("module", "modules"), ("filter", "filter"), ("lookup", "lookup"))
}
INTERNAL = {"preflight", "rollout_target"}
"""Playbooks that others import and nobody runs."""
HINT = "Made by `make reference`; the same by `ansible-doc`"


@functools.cache
def documents(kind: str) -> dict[str, Any]:
    """What ansible-doc says of everything of one kind, by name."""
    names = sorted(path.stem for path in SOURCES[kind].iterdir() if path.stem[0].isalpha())
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-doc",
            "--json",
            "-t",
            kind,
            *[f"mesops.platform.{name}" for name in names],
        ],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {name: found[f"mesops.platform.{name}"] for name in names}


def text(value: Any) -> str:
    """A description in Markdown, on one line."""
    parts = [value] if isinstance(value, str) else list(value or ())
    whole = " ".join(" ".join(part.split()) for part in parts)
    whole = re.sub(r"\bM\(([^)]+)\)", r"`\1`", whole)
    return re.sub(r"\b(?:O|V|C|RV|E|I|B)\(((?:[^()\\]|\\.)+)\)", r"`\1`", whole)


def cell(value: str) -> str:
    """Text that may stand in a table; angle brackets outside of code are no HTML."""
    outside = re.split(r"(`[^`]*`)", value.replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in outside)


def default(option: Mapping[str, Any]) -> str:
    """What holds without the option."""
    if option.get("required"):
        return "required"
    value = option.get("default")
    if value is None:
        return ""
    shown = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return f"`{shown}`"


def kind(option: Mapping[str, Any]) -> str:
    """Its type, with that of the elements, and what may be chosen."""
    name = str(option.get("type", "str"))
    name = f"{name} of {option['elements']}" if option.get("elements") else name
    choices = ", ".join(f"`{choice}`" for choice in option.get("choices") or ())
    return f"{name}: {choices}" if choices else name


def rows(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A row for each option, and for those inside of it."""
    for name, option in options.items():
        shown = f"`{prefix}{name}`"
        yield f"| {shown} | {cell(kind(option))} | {cell(default(option))} | {cell(text(option.get('description')))} |"
        yield from rows(option.get("suboptions") or option.get("options") or {}, f"{prefix}{name}.")


def table(options: Mapping[str, Any]) -> str:
    """Options, or the sentence that there are none."""
    if not options:
        return "No options.\n"
    return "\n".join(["| option | type | default | meaning |", "| --- | --- | --- | --- |", *rows(options)]) + "\n"


def returned(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A row for each value that a module returns."""
    for name, value in values.items():
        yield f"| `{prefix}{name}` | {value.get('type', '')} | {cell(text(value.get('description')))} |"
        yield from returned(value.get("contains") or {}, f"{prefix}{name}.")


def roles() -> str:
    """The page of the roles."""
    found = documents("role")
    page = [f"# Roles\n\n{HINT} `-t role mesops.platform.<name>`. What a role does, and how, is in its own README.\n"]
    for name, one in found.items():
        page.append(f"## {name}\n\n[README](../../roles/{name}/README.md)\n")
        for entry, point in one["entry_points"].items():
            title = "" if entry == "main" else f"### {name}, `tasks_from: {entry}`\n\n"
            said = f"**{text(point['short_description'])}.** {text(point.get('description'))}"
            page.append(f"{title}{said}\n\n{table(point['options'])}")
    return "\n".join(page)


def plugins(of: str, title: str) -> str:
    """The page of the modules, of the filters or of the lookups."""
    page = [f"# {title}\n\n{HINT} `-t {of} mesops.platform.<name>`.\n"]
    for name, one in documents(of).items():
        doc = one["doc"]
        page.append(f"## {name}\n\n**{text(doc['short_description'])}.** {text(doc['description'])}\n")
        page.append(table(doc.get("options") or {}))
        attributes = [
            f"{key.removesuffix('_mode')} mode: {value['support']}"
            + (f" ({text(value['details'])})" if value.get("details") else "")
            for key, value in (doc.get("attributes") or {}).items()
        ]
        if attributes:
            page.append(f"{'; '.join(attributes)}.\n")
        page.append(f"```yaml\n{one['examples'].strip()}\n```\n")
        values = list(returned(one.get("return") or {}))
        if values:
            page.append("\n".join(["| returns | type | meaning |", "| --- | --- | --- |", *values]) + "\n")
    return "\n".join(page)


def playbooks() -> str:
    """The page of the playbooks, from the comment at the head of each."""
    page = [
        "# Playbooks\n\nMade by `make reference` from the head of each. In a checkout `mesops.platform.<name>` is "
        "`playbooks/<name>.yml`.\n"
    ]
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        if path.stem in INTERNAL:
            continue
        head = []
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            if not line.startswith("#"):
                break
            head.append(line.removeprefix("#").removeprefix(" "))
        commands = [line.strip() for line in head if line.strip().startswith("ansible-playbook ")]
        words = " ".join(line.strip() for line in head if line.strip() not in commands)
        page.append(f"## {path.stem}\n\n{words}\n")
        if commands:
            page.append("```console\n" + "\n".join(f"$ {command}" for command in commands) + "\n```\n")
    return "\n".join(page)


def gates() -> str:
    """The page on gates, with the types of probes as they are now."""
    rows = [f"| `{one.name}` | {PLACES[one.place]} | {cell(text(one.documentation))} |" for one in TYPES.values()]
    page = (PAGES / "gates.md").read_text(encoding="utf-8")
    head, found, rest = page.partition("| type | taken on | keys |\n| --- | --- | --- |\n")
    return head + found + "\n".join(rows) + rest[rest.index("\n\n") :]


def pages() -> dict[str, str]:
    """Every page, by its place in docs/."""
    return {
        "reference/roles.md": roles(),
        "reference/modules.md": plugins("module", "Modules"),
        "reference/filters.md": plugins("filter", "Filters"),
        "reference/lookups.md": plugins("lookup", "Lookups"),
        "reference/playbooks.md": playbooks(),
        "gates.md": gates(),
    }


def main() -> int:
    """Write the pages."""
    (PAGES / "reference").mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        (PAGES / name).write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
