# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes back one mend of the product at a time, and shows the story that finds it: ``python -m simulations.mutations``.

Each mutation is a change of the product's text as it stands, made in a copy. What cannot be found in the text any more
is an error, so that the list follows the code.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 900


@dataclass(frozen=True)
class Mutation:
    """One mend, taken back."""

    defect: str
    """What the product then does wrong, for a person."""
    place: str
    """The file below ``plugins/``."""
    text: str
    instead: str


STEPS, BEGIN, ADOPT, KEPT_OUT, COURSE, CLOSING, GOING_BACK, GOING_FORWARD, PUTTING_BACK, MIGRATIONS, RUN, VERDICTS = (
    f"plugin_utils/_rollout/{name}.py"
    for name in (
        "steps",
        "begin",
        "adopt",
        "kept_out",
        "course",
        "closing",
        "going_back",
        "going_forward",
        "putting_back",
        "migrations",
        "run",
        "verdicts",
    )
)
STATE, HISTORY, FILE, CLIENT = (
    "module_utils/_record/state.py",
    "plugin_utils/_rollout/history.py",
    "module_utils/_record/file_store.py",
    "plugin_utils/_rollout/store_client.py",
)

MUTATIONS = (
    Mutation(
        "an abort of a rollback takes healthy hosts out of traffic",
        GOING_BACK,
        "            self.putting_back.settle(self.run.batch)\n",
        "            self.steps.keep_out([host for host in record.hosts if record.phase(host) != state.DONE])\n",
    ),
    Mutation(
        "one host that fails in a rollback takes its batch out of traffic",
        GOING_BACK,
        "        self.steps.keep_out(list(broken))\n",
        "        broken.update(dict.fromkeys(batch if broken else (), 'so'))\n"
        "        self.steps.keep_out(list(broken))\n",
    ),
    Mutation(
        "a run that was told that its lock is lost goes on",
        CLIENT,
        "        if isinstance(self._error, world.LockLost):\n            raise self._error\n",
        "        self._error = None\n",
    ),
    Mutation(
        "a lock has no number, so nothing tells an older run from a newer one",
        FILE,
        "ttl, ttl, revision + 1)",
        "ttl, ttl, 1)",
    ),
    Mutation(
        "records stand in the order of their controllers' clocks",
        FILE,
        "key=lambda one: one[:3]",
        "key=lambda one: one[1:3]",
    ),
    Mutation(
        "whoever comes takes the lock, held or not",
        FILE,
        "            if held is not None and not held.is_meant(takeover):\n"
        "                raise Locked(self.service, held)\n",
        "",
    ),
    Mutation(
        "an unfinished rollout is bound to the load balancers of its first run",
        ADOPT,
        "    record.balancers = list(settings.balancers)\n",
        "",
    ),
    Mutation(
        "what a person took out between two runs is taken for the rollout's own",
        KEPT_OUT,
        '        if server.admin == "ready" or host not in settings.hosts:\n            return False\n',
        "        return False\n",
    ),
    Mutation(
        "what a person takes out during a run is put back",
        STEPS,
        "        mine = [host for host in hosts if self.record.hosts[host].taken_out]\n        where = ",
        "        mine = list(hosts)\n        where = ",
    ),
    Mutation(
        "a host that a person drains while it is judged counts as drained by the rollout",
        STEPS,
        "least=self.settings.least, mine=mine)",
        "least=self.settings.least, mine=out)",
    ),
    Mutation(
        "a rollback does not look whether a migration since then has closed the way",
        BEGIN,
        "    for one in history[: oldest + 1]:\n"
        "        refuse_irreversible(record_of(one), last.id)\n"
        "    for target in targets.values():\n"
        "        refuse_closed(way_closed(target, history), last.id)\n",
        "",
    ),
    Mutation(
        "a rollout that goes back does not look whether a migration has closed the way",
        COURSE,
        "        elif record.frozen_by:\n            self.closing.freeze()\n",
        "",
    ),
    Mutation(
        "the way back leads to the release that was active before, whether it failed or not",
        BEGIN,
        "    version, failed = proved(host, history)\n    sound =",
        "    version, failed = node.previous, set()\n    sound =",
    ),
    Mutation(
        "a rollback that has nothing to revert does not name hosts that an earlier rollout has left behind",
        BEGIN,
        "_not_wholly_in(settings.hosts, snapshot, history)))\n",
        "[]))\n",
    ),
    Mutation(
        "a rollback reverts the hosts of the last record only",
        BEGIN,
        "    for host in settings.hosts:\n        node = snapshot.nodes[host]\n",
        "    for host in [one for one in settings.hosts if one in last.hosts]:\n        node = snapshot.nodes[host]\n",
    ),
    Mutation(
        "sessions on a release that was judged bad are waited for like others",
        STEPS,
        "        if condemned:\n",
        "        if False:\n",
    ),
    Mutation(
        "a promotion stays set after it was obeyed",
        RUN,
        "                self.world.clear_control()\n",
        "                pass\n",
    ),
    Mutation(
        "people are not heard while a migration runs",
        MIGRATIONS,
        "            try:\n                self.run.checkpoint()\n            except Aborted as word:",
        "            try:\n                pass\n            except Aborted as word:",
    ),
    Mutation(
        "a drain does not look how many others are left",
        STEPS,
        "        least = settings.least if least is None else least\n",
        "        least = 0\n",
    ),
    Mutation(
        "a batch is not drained before its version is switched",
        GOING_FORWARD,
        "        self.steps.drain(hosts)\n        started",
        "        started",
    ),
    Mutation(
        "a halt does not name hosts that have a part of their weight only",
        CLOSING,
        "        if part:\n",
        "        if False:\n",
    ),
    Mutation(
        "a halt puts no host back whose drain came to nothing, and names none",
        CLOSING,
        "                return self.putting_back.put_back()\n",
        "                return []\n",
    ),
    Mutation(
        "an abort forgets hosts that an earlier run has left in the middle of their turn",
        GOING_BACK,
        "            self.run.batch = [host for host, one in record.hosts.items() if one.phase in state.UNDER_WAY]\n",
        "",
    ),
    Mutation(
        "a rollback ends with hosts that an earlier run has drained, and whose version cannot be installed",
        GOING_BACK,
        "        self.putting_back.settle(self.run.batch)\n        ready = ",
        "        ready = ",
    ),
    Mutation(
        "a host that a person has put back with a part of its share keeps that part when the rollout is done",
        CLOSING,
        "        self.steps.look_again(hosts)\n",
        "",
    ),
    Mutation(
        "an abort that comes while a release is installed is heard when its migration has begun",
        MIGRATIONS,
        "        self.run.checkpoint()\n        step.host = ",
        "        step.host = ",
    ),
    Mutation(
        "a rollout is over although the migration of an earlier run still runs",
        MIGRATIONS,
        '            asked = step.state == "running" and step.host in self.settings.hosts\n',
        "            asked = False\n",
    ),
    Mutation(
        "a host that a person puts back while its batch is drained is not drained again",
        STEPS,
        "            self.run.checkpoint()\n            self.look_again(hosts)\n",
        "            self.run.checkpoint()\n",
    ),
    Mutation(
        "a rollback does not find hosts that have left the last rollout in the middle of their turn",
        BEGIN,
        '            previous = part_of(history[at], host).get("previous")\n',
        "            previous = last.hosts[host].previous if host in last.hosts else None\n",
    ),
    Mutation(
        "a rollback leaves hosts as they are that have left the last rollout with a part of their share",
        BEGIN,
        "            if previous and (midway or behind):\n",
        "            if previous and behind:\n",
    ),
    Mutation(
        "a rollback of a rollout that was done does not find hosts that have left it in the middle of their turn",
        BEGIN,
        "        if midway or last.status != state.SUCCEEDED:\n",
        "        if last.status != state.SUCCEEDED:\n",
    ),
    Mutation(
        "an abort of a rollback leaves hosts out that a killed run had switched and not recorded",
        PUTTING_BACK,
        "        record.enter(switched, state.ACTIVATED, self.world.now())\n",
        "",
    ),
    Mutation(
        "a host that was only mended has no way back",
        BEGIN,
        "        return target\n    return before\n",
        "        return None\n    return before\n",
    ),
    Mutation(
        "a host that was excluded in the middle of its turn never takes part again",
        ADOPT,
        '    if record.direction == state.BACK or record.kind == "rollback":\n        told += _rejoin',
        "    if False:\n        told += _rejoin",
    ),
    Mutation(
        "a host that a rollout could not mend counts as drained by it, whoever had drained it",
        HISTORY,
        "    return left_behind(host, history) and asked and not kept\n",
        "    return left_behind(host, history)\n",
    ),
    Mutation(
        "who had drained a host is forgotten when it leaves a rollout",
        ADOPT,
        "        record.left[host].kept_at = [name for name, hosts in record.kept_out.items() if host in hosts]\n",
        "",
    ),
    Mutation(
        "a host that left a rollout while it had traffic counts as drained by it",
        HISTORY,
        'if gone.get("phase") in state.OUT else gone',
        'if gone.get("phase") in state.UNDER_WAY else gone',
    ),
    Mutation(
        "a rollout that is resumed counts drains as its own at load balancers of which it knew nothing",
        KEPT_OUT,
        "        theirs = theirs or name not in record.asked\n",
        "",
    ),
    Mutation(
        "a host that has traffic again at one load balancer counts as drained by the rollout at all",
        KEPT_OUT,
        " or name in (*mine.kept_at, *mine.let_in_at)\n",
        " or name in mine.kept_at\n",
    ),
    Mutation(
        "a bad host that had to stay in traffic counts as drained by the rollout",
        STEPS,
        'found[host].admin == "ready"]\n            self.record.hosts[host].let_in_at = inside\n',
        'found[host].admin == "ready"]\n',
    ),
    Mutation(
        "a host that an earlier rollout has left behind is put back when the next one is broken off",
        PUTTING_BACK,
        "        idle = [host for host in idle if not self._was_left_out(host)]\n",
        "",
    ),
    Mutation(
        "a host that was activated counts as drained only when the store then fails",
        STEPS,
        "        self.record.enter(versions, state.ACTIVATED, self.world.now())\n        for host,",
        "        self.run.check_store()\n"
        "        self.record.enter(versions, state.ACTIVATED, self.world.now())\n        for host,",
    ),
    Mutation(
        "a host counts as drained by the rollout although the store did not take it and nothing was done",
        STEPS,
        "            self.record.withdraw(before)\n",
        "",
    ),
    Mutation(
        "a rollout counts drains as its own at load balancers of which it knew nothing",
        HISTORY,
        'asked = balancer in (*last.get("asked", ()), *last.get("balancers", ()))',
        "asked = True",
    ),
    Mutation(
        "nobody notices that a person has put a server back",
        STEPS,
        "            kept[:] = [host for host in kept if host not in back]\n",
        "",
    ),
    Mutation(
        "a rollback of a rollout that came to nothing does not look how far back it leads",
        BEGIN,
        "        refuse_closed(way_closed(target, history), last.id)\n",
        "        pass\n",
    ),
    Mutation(
        "a drain that is given up is not taken back where the host was not up before",
        PUTTING_BACK,
        "            failed = self.let_back_in(idle)\n",
        "            failed = self.steps.new_trouble(self.steps.enter(idle, 100) if idle else {})\n",
    ),
    Mutation(
        "a rollout that comes to nothing does not name hosts that an earlier one has left behind",
        CLOSING,
        "        out = [host for host in untouched if record.hosts[host].left_out]\n",
        "        out = []\n",
    ),
    Mutation(
        "a rollout that comes to nothing does not name hosts that have only a part of their share",
        CLOSING,
        " and self._found_partly_in(host)]\n",
        " and False]\n",
    ),
    Mutation(
        "a rollback whose hosts have gone down again never ends",
        CLOSING,
        '        if failed and record.kind == "rollback":\n',
        "        if False:\n",
    ),
    Mutation(
        "a rollout that has halted with its way back closed gives way to no other",
        STATE,
        "return self.status == FROZEN or bool(self.status == HALTED and self.frozen_by and not migrating)",
        "return self.status == FROZEN",
    ),
    Mutation(
        "a host that was not up before its turn holds up its own way back for capacity's sake",
        GOING_BACK,
        "if last and self.steps.takes_nothing(host)][:1]\n",
        "if False][:1]\n",
    ),
    Mutation(
        "a rollback leads a host to another version than its plan says",
        GOING_BACK,
        "goals = {host: one.target if wanted else one.previous for",
        "goals = {host: one.target if wanted else self.run.snapshot.nodes[host].previous for",
    ),
    Mutation(
        "check mode knows nothing of an unfinished rollout",
        CLIENT,
        '        found["history"] = _ended(found)\n        return found',
        '        found["history"] = _ended(found)\n        return {**found, "open_record": None}',
    ),
    Mutation(
        "the last gate's verdict does not count",
        VERDICTS,
        '        if policy == "rollback":\n',
        "        if False:\n",
    ),
)


def find(mutation: Mutation, seeds: int) -> str:
    """The story that breaks a promise when a mend is taken back, as the command line tells it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "ansible_collections/mesops/platform"
        for part in ("module_utils", "plugin_utils"):
            shutil.copytree(ROOT / "plugins" / part, home / "plugins" / part)
        place = home / "plugins" / mutation.place
        before = place.read_text(encoding="utf-8")
        if mutation.text not in before:
            return f"NOT IN THE TEXT ANY MORE: {mutation.place}"
        place.write_text(before.replace(mutation.text, mutation.instead, 1), encoding="utf-8")
        command = [sys.executable, "-m", "simulations", "--first-broken", "--seeds", str(seeds), "--processes", "1"]
        paths = [folder, str(ROOT / "tests")]
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )
        return (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]


def main() -> int:
    """The table of the page docs/simulation.md; 1 when a mutation was not found."""
    parser = argparse.ArgumentParser(prog="simulations.mutations", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3000)
    parser.add_argument("--only", default="", help="only mutations whose text has this word")
    asked = parser.parse_args()
    meant = [one for one in MUTATIONS if asked.only in one.defect]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda one: (one, find(one, asked.seeds)), meant)
        missed = 0
        print("| what the product then does | first seed | first kept story | the promise that it breaks |")
        print("| --- | --- | --- | --- |")
        for mutation, line in found:
            missed += " | " not in line
            print(f"| {mutation.defect} | {line} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
