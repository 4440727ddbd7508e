# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pipelines to copy: tests, artifact, rollout to release, smoke test, production on approval.

Their shell commands are run as the pipeline would run them, with a service that is built by a stand-in for make, and
with stand-ins for all that reaches a network. So what `ansible-playbook` is given is seen, and not only how it is
written.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PIPELINES = ROOT / "docs/pipelines"
SOURCES = sorted(PIPELINES.glob("*.yml"))
COLLECTION = "mesops.platform."
ORDER = ["test", "build", "release", "smoke", "production"]


def load(name: str) -> dict[str, Any]:
    found: dict[Any, Any] = yaml.safe_load((PIPELINES / name).read_text())
    # YAML 1.1 reads the word on as a truth value, GitHub does not.
    return {"on" if key is True else str(key): value for key, value in found.items()}


GITLAB = load("gitlab-ci.yml")
GITHUB = load("github-actions.yml")
ENVIRONMENT = load("github-actions-environment.yml")


def texts(value: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from texts(one)


# ----------------------------------------------------------------------------------------------------------- as written


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_key_stands_twice(path: Path) -> None:
    """YAML takes the last one silently."""

    def check(node: Any) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _value in node.value]
            assert sorted(keys) == sorted(set(keys)), f"line {node.start_mark.line + 1}"
        for child in node.value if isinstance(node.value, list) else []:
            for one in child if isinstance(child, tuple) else (child,):
                check(one)

    check(yaml.compose(path.read_text(), Loader=yaml.SafeLoader))


def commands(path: Path) -> list[list[str]]:
    """The `ansible-playbook` commands of a pipeline, as words."""
    found = [text for text in texts(yaml.safe_load(path.read_text())) if re.match(r"\s*ansible-playbook\b", text)]
    return [shlex.split(text) for text in found]


def test_every_kind_of_pipeline_rolls_out() -> None:
    assert {path.name for path in SOURCES if commands(path)} == {"gitlab-ci.yml", "github-actions-environment.yml"}


def playbook_of(command: Sequence[str]) -> str:
    (name,) = [word for word in command if word.startswith(COLLECTION)]
    return name.removeprefix(COLLECTION)


def variables_of(command: Sequence[str]) -> dict[str, str]:
    """What is given with -e."""
    given = [command[number + 1] for number, word in enumerate(command) if word in ("-e", "--extra-vars")]
    assert all("=" in one for one in given)
    return dict(one.split("=", 1) for one in given)


def known_variables(playbook: str) -> tuple[set[str], set[str]]:
    """The variables that a playbook or the role's argument specification names, and those that are required."""
    text = (ROOT / f"playbooks/{playbook}.yml").read_text()
    read = set(re.findall(r"\b(?:mesops|rollout|app|haproxy)_\w+\b", text))
    entry = next(iter(re.findall(r"tasks_from: (\w+)", text)), "main")
    specs = yaml.safe_load((ROOT / "roles/rollout/meta/argument_specs.yml").read_text())["argument_specs"]
    options = specs["main"]["options"] | specs[entry]["options"]
    required = {name for name, option in specs[entry]["options"].items() if option.get("required")}
    return read | set(options), required


@pytest.mark.parametrize("path", [path for path in SOURCES if commands(path)], ids=lambda path: path.name)
def test_commands_name_playbooks_and_variables_that_exist(path: Path) -> None:
    for command in commands(path):
        playbook = playbook_of(command)
        assert (ROOT / f"playbooks/{playbook}.yml").is_file()
        known, required = known_variables(playbook)
        assert required <= set(variables_of(command)) <= known


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_collection_is_called_by_its_name_everywhere(path: Path) -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    told = set(re.findall(r"\bmesops\.\w+", path.read_text()))
    assert told <= {f"{galaxy['namespace']}.{galaxy['name']}"}


# --------------------------------------------------------------------------------------------------------------- GitLab


def gitlab_jobs() -> dict[str, dict[str, Any]]:
    """The jobs that run, with what they take over from others."""
    words = ("stages", "variables", "workflow", "default", "include", "image", "cache")
    jobs = {name: job for name, job in GITLAB.items() if name not in words}
    merged = {name: {**jobs.get(job.get("extends", ""), {}), **job} for name, job in jobs.items()}
    missing = [job["extends"] for job in jobs.values() if job.get("extends", next(iter(jobs))) not in jobs]
    assert missing == []
    return {name: job for name, job in merged.items() if not name.startswith(".")}


def test_gitlab_goes_through_the_stages_in_order() -> None:
    assert GITLAB["stages"] == ORDER
    jobs = gitlab_jobs()
    assert [job["stage"] for job in jobs.values()] == ORDER
    for job in jobs.values():
        needs = [one if isinstance(one, str) else one["job"] for one in job.get("needs", [])]
        assert set(needs) <= set(jobs)
        assert needs == [], "without needs a stage waits for all jobs of the one before"
        assert not job.get("allow_failure")


def test_gitlab_waits_for_a_person_only_before_production() -> None:
    jobs = gitlab_jobs()
    manual = {job["stage"] for job in jobs.values() if {"when": "manual"} in job.get("rules", []) or "when" in job}
    assert manual == {"production"}
    assert {job["stage"]: job["environment"]["name"] for job in jobs.values() if "environment" in job} == {
        "release": "release",
        "production": "production",
    }


def test_gitlab_rolls_an_environment_out_once_at_a_time_and_never_half() -> None:
    for job in gitlab_jobs().values():
        if "environment" in job:
            assert job["resource_group"] == "$CI_ENVIRONMENT_NAME"
            assert job["interruptible"] is False
            assert job["artifacts"]["when"] == "always", "the report of a rollout that failed is the one to read"


# --------------------------------------------------------------------------------------------------------------- GitHub


def needs(job: Mapping[str, Any]) -> list[str]:
    found = job.get("needs", [])
    return [found] if isinstance(found, str) else list(found)


def test_github_goes_through_the_jobs_in_order() -> None:
    jobs = GITHUB["jobs"]
    assert list(jobs) == ["build", "release", "smoke", "production"]
    assert {name: needs(job) for name, job in jobs.items()} == {
        "build": [],
        "release": ["build"],
        "smoke": ["release"],
        "production": ["build", "smoke"],
    }
    steps = " ".join(step.get("run", "") for step in jobs["build"]["steps"])
    assert steps.index("make test") < steps.index("make build")


def test_github_outputs_are_those_of_jobs_and_steps_that_are_waited_for() -> None:
    for name, job in GITHUB["jobs"].items():
        for text in texts(job):
            for other, output in re.findall(r"needs\.(\w+)\.outputs\.(\w+)", text):
                assert other in needs(job), name
                assert output in GITHUB["jobs"][other]["outputs"]
            for step in re.findall(r"steps\.(\w+)\.outputs\.", text):
                assert step in [one.get("id") for one in job["steps"]]


def test_github_calls_the_rollout_as_it_wants_to_be_called() -> None:
    inputs = ENVIRONMENT["on"]["workflow_call"]["inputs"]
    called = {name: job for name, job in GITHUB["jobs"].items() if "uses" in job}
    assert {name: job["with"]["environment"] for name, job in called.items()} == {
        "release": "release",
        "production": "production",
    }
    # The header of the other file says where it is to be copied to.
    path = re.search(r"Copy it to (\S+\.yml)", (PIPELINES / "github-actions-environment.yml").read_text())
    assert path is not None
    for job in called.values():
        assert job["uses"] == f"./{path[1]}"
        assert set(job["with"]) == set(inputs)
        assert job["secrets"] == "inherit"


def test_github_rolls_an_environment_out_once_at_a_time_and_never_half() -> None:
    (job,) = ENVIRONMENT["jobs"].values()
    assert job["environment"] == "${{ inputs.environment }}", "its reviewers are asked, and its secrets are used"
    assert job["concurrency"] == {"group": "rollout-${{ inputs.environment }}", "cancel-in-progress": False}
    report = job["steps"][-1]
    assert (report["if"], report["with"]["path"]) == ("always()", "rollout.json")


def test_github_hands_the_archive_on_under_one_name() -> None:
    (up,) = [one for one in GITHUB["jobs"]["build"]["steps"] if "upload-artifact" in one.get("uses", "")]
    (down,) = [one for one in ENVIRONMENT["jobs"]["rollout"]["steps"] if "download-artifact" in one.get("uses", "")]
    assert up["with"]["name"] == down["with"]["name"]
    assert {"SERVICE", "INVENTORY_REPO"} <= set(GITHUB["env"]) & set(ENVIRONMENT["env"])
    assert GITHUB["env"] == ENVIRONMENT["env"]


# --------------------------------------------------------------------------------------------------------------- as run

STAND_IN = """#!/bin/sh
case "$(basename "$0") $1" in
  "make build") mkdir -p build/bin && echo 'exec serve' > build/bin/catalog ;;
  ansible-playbook*) for word; do printf '%s\\n' "$word"; done > asked ;;
  install*) exit 0 ;;
esac
"""
PROGRAMS = ("make", "ansible-playbook", "ansible-galaxy", "pip", "apt-get", "git", "install")


@dataclass
class Runner:
    """A machine of a pipeline."""

    directory: Path

    def run(self, script: str, **variables: str) -> None:
        """Run the commands of one job or step; the first one that fails ends them, as in a pipeline."""
        path = f"{self.directory / 'bin'}{os.pathsep}{os.environ['PATH']}"
        home = {"PATH": path, "HOME": str(self.directory / "home")}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env={**home, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr

    def asked(self) -> list[str]:
        """What ansible-playbook was given."""
        return (self.directory / "asked").read_text().splitlines()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    for name in ("bin", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "home/.ssh").mkdir()
    for name in PROGRAMS:
        program = tmp_path / "bin" / name
        program.write_text(STAND_IN)
        program.chmod(0o755)
    return Runner(tmp_path)


def check_rollout(runner: Runner, environment: str, version: str) -> None:
    """The archive that was built is rolled out to the environment, under its version and with its checksum."""
    command = runner.asked()
    assert playbook_of(command) == "rollout"
    assert command[command.index("-i") + 1] == f"inventories/{environment}"
    variables = variables_of(command)
    archive = runner.directory / variables["rollout_artifact"]
    assert archive.is_file()
    assert variables == {
        "rollout_service": "catalog",
        "rollout_version": version,
        "rollout_artifact": f"catalog-{version}.tar.gz",
        "rollout_checksum": f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}",
        "rollout_report": "rollout.json",
    }


def gitlab_variables(tag: str) -> dict[str, str]:
    given = {"CI_PIPELINE_IID": "17", "CI_COMMIT_TAG": tag, "CI_COMMIT_BRANCH": "" if tag else "main"}
    found = {name: value for name, value in GITLAB["variables"].items() if name != "INVENTORY_REPO"}
    rule = next(iter(GITLAB["workflow"]["rules"]))
    if tag:
        assert rule["if"] == "$CI_COMMIT_TAG =~ /^v[0-9]/"
        found |= rule["variables"]
    filled = {name: re.sub(r"\$(\w+)", lambda one: given[one[1]], value) for name, value in found.items()}
    return {**given, **filled, "INVENTORY_REPO": "https://inventories"}


@pytest.mark.parametrize(("tag", "version"), [("v1.4.0", "1.4.0"), ("", "0.0.17")])
def test_gitlab_rolls_out_what_it_has_built(runner: Runner, tag: str, version: str) -> None:
    variables = gitlab_variables(tag)
    jobs = {job["stage"]: job for job in gitlab_jobs().values()}
    runner.run("\n".join(jobs["build"]["script"]), **variables)
    for stage in ("release", "production"):
        job = jobs[stage]
        key = {"SSH_PRIVATE_KEY": "key", "SSH_KNOWN_HOSTS": "hosts", "ANSIBLE_VAULT_PASSWORD": "x"}
        # What prepares the machine writes below /root, where a test has nothing to do.
        assert [line for line in job["before_script"] if "ansible-galaxy collection install" in line]
        assert not any("mkdir" in line for line in job["script"])
        runner.run(
            "\n".join(job["script"]), **variables, **key, CI_ENVIRONMENT_NAME=job["environment"]["name"], CI="true"
        )
        check_rollout(runner, stage, version)
    patterns = [one.replace("$SERVICE", "catalog") for one in jobs["build"]["artifacts"]["paths"]]
    kept = {path.name for pattern in patterns for path in runner.directory.glob(pattern)}
    assert kept == {f"catalog-{version}.tar.gz", f"catalog-{version}.tar.gz.sha256"}, "later jobs have nothing else"


def fill(text: str, names: Mapping[str, str]) -> str:
    """A text with its expressions filled in, as GitHub does."""
    return re.sub(r"\$\{\{ (\S+) \}\}", lambda one: names[one[1]], text)


def github_steps(runner: Runner, document: Mapping[str, Any], job: str, names: Mapping[str, str], **more: str) -> None:
    for step in document["jobs"][job]["steps"]:
        own = {key: fill(value, names) for key, value in step.get("env", {}).items()}
        if "run" in step:
            output = runner.directory / "output"
            runner.run(step["run"], **document["env"], **more, **own, GITHUB_OUTPUT=str(output))


@pytest.mark.parametrize(("ref", "version"), [("refs/tags/v1.4.0", "1.4.0"), ("refs/heads/main", "0.0.17")])
def test_github_rolls_out_what_it_has_built(runner: Runner, ref: str, version: str) -> None:
    class Outputs(dict[str, str]):
        def __missing__(self, name: str) -> str:
            assert name == "steps.version.outputs.version"
            key, _, value = (runner.directory / "output").read_text().strip().partition("=")
            assert key == "version"
            return value

    github_steps(runner, GITHUB, "build", Outputs(), GITHUB_REF=ref, GITHUB_RUN_NUMBER="17")
    found = fill(GITHUB["jobs"]["build"]["outputs"]["version"], Outputs())
    assert found == version
    (step,) = [one for one in GITHUB["jobs"]["build"]["steps"] if "upload-artifact" in one.get("uses", "")]
    pattern = fill(step["with"]["path"], {"env.SERVICE": "catalog"})
    kept = {path.name for path in runner.directory.glob(pattern)}
    assert kept == {f"catalog-{version}.tar.gz", f"catalog-{version}.tar.gz.sha256"}, "other jobs have nothing else"
    for environment in ("release", "production"):
        secrets = {f"secrets.{name}": "x" for name in ("SSH_PRIVATE_KEY", "SSH_KNOWN_HOSTS", "ANSIBLE_VAULT_PASSWORD")}
        names = {"inputs.environment": environment, "inputs.version": found, **secrets}
        github_steps(runner, ENVIRONMENT, "rollout", names)
        check_rollout(runner, environment, version)
    assert (runner.directory / "home/.vault").read_text() == "x"
