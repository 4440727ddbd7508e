# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A type of probe is one file: whatever is done with probes, nothing else in the collection knows a single type."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
import reference
from ansible_collections.mesops.platform.plugins.doc_fragments import probe_types
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import Aim
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.limits import LatencyLimits, limits_of
from ansible_collections.mesops.platform.plugins.plugin_utils._remote import bundle, imports
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout import plan_text
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.evidence import Evidence
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.samples import Samples
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import SampleRequest
from ansible_collections.mesops.platform.plugins.plugin_utils._service import (
    errors,
    rollout_gates,
    service_settings,
)
from probing import PLACE, accepted, refused, tools

PLUGINS = Path(__file__).resolve().parents[5] / "plugins"
PACKAGE = PLUGINS / "module_utils/_probe"
FILES = {path.stem for path in PACKAGE.glob("*.py") if re.search(r"^TYPE = ProbeType\(", path.read_text(), re.M)}
QUEUE = """
    from ansible_collections.mesops.platform.plugins.module_utils._core import scalars
    from ansible_collections.mesops.platform.plugins.module_utils._probe import keys
    from ansible_collections.mesops.platform.plugins.module_utils._probe.probe_type import (
        COORDINATOR, TIMES, Comparison, ProbeType
    )
    from ansible_collections.mesops.platform.plugins.module_utils._probe.sampling import FAILURE, RAW, SUCCESS, sample

    def check(probe, place):
        if probe["name"].startswith("-"):
            raise keys.ProbeError(f"{place}.name is {probe['name']!r}; give the name of a queue.")

    def take(probe, tools):
        rc, out, err = tools.run(["queue", "depth", probe["name"]])
        if probe.get("compared"):
            waited = [float(one) for one in out.split()]
            data = {"canary": waited, "baseline": [1.0] * len(waited), "until": 5.0}
            return {"phase": RAW, "text": "", "data": data}
        return sample(SUCCESS if int(out) <= probe["most"] else FAILURE, f"{int(out)} wait in {probe['name']}")

    TYPE = ProbeType(
        name="queue",
        place=COORDINATOR,
        keys={
            "name": (scalars.TEXT,),
            "most": keys.WHOLE,
            "compared": (scalars.BOOLEAN,),
            "since": keys.NOT_NEGATIVE,
        },
        required=("name",),
        documentation="C(name); C(most), how many may wait",
        check=check,
        describe=lambda probe: f"queue {probe['name']} is short",
        take=take,
        comparison=lambda probe: Comparison(TIMES, {"min_samples": 30}) if probe.get("compared") else None,
        looks_back=lambda probe: 30.0,
        aimed=lambda probe, aim: {} if aim.since is None else {"since": aim.since},
    )
"""
PROBE = {"type": "queue", "name": "orders", "most": 3}


def test_every_file_that_has_a_type_is_in_the_list() -> None:
    named = {name for name, module in vars(probes).items() if hasattr(module, "TYPE")}
    assert named == FILES, "name the module in _probe/probes.py, where hosts get it from"
    assert len(probes.TYPES) == len(FILES), "two types have the same name"


def test_hosts_get_every_type() -> None:
    for module in ("health_gate", "app_release"):
        carried = imports.closure(module, (PLUGINS / f"modules/{module}.py").read_text(), bundle.read_relative)
        assert {f"{imports.PACKAGE}._probe.{name}" for name in FILES} <= set(carried)


def test_no_other_file_that_knows_probes_asks_for_a_type() -> None:
    asks = re.compile(rf"""(==|!=|\bin) [({{\[]?["']({"|".join(probes.TYPES)})["']""")
    sources = {path: path.read_text() for path in PLUGINS.rglob("*.py") if path.stem not in FILES}
    assert [path.name for path, text in sources.items() if "_probe" in text and asks.search(text)] == []


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A made-up type in one file, as if its name stood in the list."""
    path = tmp_path / "queue.py"
    path.write_text(textwrap.dedent(QUEUE))
    found = importlib.util.spec_from_file_location("made_up_queue", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    monkeypatch.setitem(probes.TYPES, module.TYPE.name, module.TYPE)
    return module


@pytest.mark.usefixtures("queue")
def test_a_type_in_one_file_is_checked() -> None:
    assert accepted(PROBE)
    assert refused({"type": "queue"}) == "PLACE has no name; a probe of type queue needs name."
    assert refused({**PROBE, "most": -1}) == "PLACE.most is -1; give a whole number, at least 0."
    assert refused({**PROBE, "name": "-x"}) == "PLACE.name is '-x'; give the name of a queue."
    assert "a probe of type queue has type, from, name, most, compared, since." in refused({**PROBE, "url": "x"})
    assert probes.check_alone(PROBE, PLACE) == PROBE


@pytest.mark.usefixtures("queue")
def test_a_type_in_one_file_is_part_of_a_services_rollout() -> None:
    service = service_settings.Service("catalog", 3000, "catalog.service", "bin/catalog", "catalog")
    gates = rollout_gates.check_gates({"orders": {"probe": PROBE, "timeout": 60}}, service)
    assert "queue orders is short; 1 good, every 5 s, within 60 s" in plan_text.gate_line(gates["orders"])
    with pytest.raises(errors.PlanError, match="its query looks back 30 s"):
        rollout_gates.check_gates({"orders": {"probe": PROBE, "timeout": 20}}, service)
    assert probes.place_of(PROBE) == "coordinator"
    aim = Aim(backends=[], canary=["app-1"], in_traffic=True, in_traffic_for=9.0, since=7.0)
    assert probes.aimed({**PROBE, "from": "node"}, aim) == {**PROBE, "since": 7.0}


@pytest.mark.usefixtures("queue")
def test_a_type_in_one_file_is_taken() -> None:
    taken = probes.take(PROBE, tools(run=lambda command: (0, "4" if command[-1] == "orders" else "0", "")))
    assert taken == {"phase": "failure", "text": "4 wait in orders"}
    broken = probes.take(PROBE, tools(run=lambda _command: (1, "", "no such queue")))
    assert broken["phase"] == "error"


@pytest.mark.usefixtures("queue")
def test_a_type_in_one_file_is_judged() -> None:
    probe = {**PROBE, "compared": True}
    assert limits_of(PROBE) is None
    assert limits_of(probe) == LatencyLimits(min_samples=30)
    samples, evidence = Samples(), Evidence({"orders": GateSpec("orders", probe)}, {})
    sampled = probes.take(probe, tools(run=lambda _command: (0, "90 " * 200, "")))
    phases = []
    for _look in range(5):
        taken = samples.taken(SampleRequest("orders", probe, "", ["app-1"], []), {"app-1": sampled})
        phases.append(evidence.judge("orders", taken).phase)
    assert phases[-1] is Phase.FAILURE
    assert samples.since("orders", "app-1") == 5.0


@pytest.mark.usefixtures("queue")
def test_a_type_in_one_file_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "| `queue` | coordinator | `name`; `most`, how many may wait |\n" in reference.gates()
    fragment = importlib.reload(probe_types).ModuleDocFragment.DOCUMENTATION
    assert "A probe of C(type: queue) has C(name); C(most), how many may wait." in json.loads(fragment)["notes"]
    monkeypatch.undo()
    importlib.reload(probe_types)
