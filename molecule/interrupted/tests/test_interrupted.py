"""site.yml killed on its way, again and again, then run to its end: the estate converges whatever was cut."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import estate
import pytest

HERE = Path(__file__).resolve().parent.parent
COMMAND = [str(estate.BIN / "ansible-playbook"), "-i", str(HERE / "inventory"), "site.yml"]
DEADLINE = 600

# Where to cut: the signal goes out as soon as a line of the output contains the text, so the task of that name has just
# begun (or, with a host's name, has just ended there while the others still work). In the order of a run.
CUTS = [
    ("TASK [mesops.platform._service : Install packages", signal.SIGKILL),
    ("TASK [mesops.platform.etcd", signal.SIGINT),
    ("PLAY [Replicate the database]", signal.SIGKILL),
    ("TASK [mesops.platform.postgres : ", signal.SIGKILL),
    ("PLAY [Balance the load]", signal.SIGINT),
    ("TASK [mesops.platform.haproxy : ", signal.SIGKILL),
    ("PLAY [Run the services]", signal.SIGKILL),
    ("TASK [mesops.platform.app : ", signal.SIGINT),
]


def cut(seen: Callable[[str], bool], how: signal.Signals, log: Path) -> bool:
    """Run site.yml until a line satisfies ``seen``, then end it with a signal; whether it was cut."""
    deadline = time.monotonic() + DEADLINE
    with log.open("w") as sink:
        process = subprocess.Popen(
            COMMAND,
            cwd=estate.ROOT,
            env=estate.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        was_cut = False
        for line in process.stdout:
            sink.write(line)
            if not was_cut and seen(line):
                # The whole process group, workers included, as a closed terminal or the OOM killer does.
                os.killpg(process.pid, how)
                was_cut = True
            assert time.monotonic() < deadline, f"site.yml still runs after {DEADLINE} s"
        process.wait(timeout=60)
    return was_cut


@pytest.mark.parametrize(("text", "how"), CUTS, ids=[f"{how.name} at {text}" for text, how in CUTS])
def test_cut(text: str, how: signal.Signals) -> None:
    log = estate.BUILD / f"interrupted-{CUTS.index((text, how))}.log"
    occurrences = 0

    # The last of a role's first three tasks, so that each cut finds the role half done.
    def seen(line: str) -> bool:
        nonlocal occurrences
        occurrences += text in line
        return occurrences == (3 if text.endswith(" : ") else 1)

    assert cut(seen, how, log), f"site.yml ended before {text!r} was seen; see {log}"


def test_next_run_converges() -> None:
    done = estate.step("site.yml, uninterrupted", COMMAND, log=estate.BUILD / "interrupted-final.log")
    assert not any(host["failed"] or host["unreachable"] for host in estate.Recap.read(done.stdout, 0).hosts.values())


def test_run_after_that_changes_nothing() -> None:
    done = estate.step("site.yml, once more", COMMAND, log=estate.BUILD / "interrupted-again.log")
    assert estate.Recap.read(done.stdout, 0).changed() == {}


def test_estate_serves() -> None:
    members = json.loads(estate.get("http://10.203.0.62:8008/cluster")[1])["members"]
    assert sorted(member["role"] in ("leader", "master") for member in members) == [False, True]
    status, body, _headers = estate.get("http://10.203.0.61/readyz", headers={"Host": "mes.demo.example"})
    assert status == 200, body
