# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gate's verdict, at every limit's edge, and against a second, slower implementation of the same rules."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate import Gate, Verdict, combine
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.gate_spec import NEVER, GateSpec
from ansible_collections.mesops.platform.plugins.plugin_utils._gate.judgement import Phase
from hypothesis import given, settings
from hypothesis import strategies as st

PROBE = {"type": "http", "url": "http://127.0.0.1:8080/readyz"}
LETTERS = {
    "S": Phase.SUCCESS,
    "F": Phase.FAILURE,
    "E": Phase.ERROR,
    "I": Phase.INCONCLUSIVE,
    "N": Phase.NO_DATA,
}
START = 1000.0


def spec(**fields: Any) -> GateSpec:
    return GateSpec.parse("errors", {"probe": PROBE, **fields}, "rollout_gates.errors")


def play(letters: str, **fields: Any) -> Gate:
    """A gate after one sample per letter, each taken when it was due."""
    gate = Gate(spec(**fields), START)
    now = START
    for number, letter in enumerate(letters, 1):
        assert gate.verdict(now) is None, f"there was a verdict before sample {number}: {gate.reason}"
        now = gate.due(now)
        gate.note(LETTERS[letter], now, f"text {number}", {"number": number})
    gate.verdict(now)
    return gate


def verdict(letters: str, **fields: Any) -> Verdict | None:
    """The verdict right after the last sample."""
    gate = play(letters, **fields)
    return gate.verdict(gate.started_at)


def at_timeout(letters: str, **fields: Any) -> Verdict | None:
    """The verdict when the time is over, where the samples alone did not bring one."""
    gate = play(letters, **fields)
    end = START + gate.spec.timeout
    assert gate.verdict(end - 0.001) is None
    return gate.verdict(end)


# ------------------------------------------------------------------------------------------------------------- verdicts


def test_the_shortest_timeout_that_is_accepted_can_pass() -> None:
    assert verdict("S" * 13, count=13, timeout=60.1) is Verdict.PASSED
    assert verdict("SSSSSSS", timeout=30.1, **{"for": 28}) is Verdict.PASSED
    assert verdict("SSSSS", timeout=30.1, initial_delay=10, **{"for": 20}) is Verdict.PASSED


@pytest.mark.parametrize(
    ("letters", "fields", "expected"),
    [
        ("S", {}, Verdict.PASSED),
        ("F", {}, Verdict.FAILED),
        ("SS", {"count": 3}, None),
        ("SSS", {"count": 3}, Verdict.PASSED),
        # Failures add up, whatever comes between.
        ("FSF", {"failure_limit": 2, "count": 9}, None),
        ("FSFSF", {"failure_limit": 2, "count": 9}, Verdict.FAILED),
        ("FFFFFFFFFF", {"failure_limit": -1}, None),
        ("FFFFS", {"failure_limit": -1}, Verdict.PASSED),
        # Errors only count in a row.
        ("EEEE", {}, None),
        ("EEEEE", {}, Verdict.ERROR),
        ("EEEESEEEE", {"count": 2}, None),
        ("EEEENEEEE", {}, None),
        ("E", {"consecutive_error_limit": 0}, Verdict.ERROR),
        ("EEEEEEEEEE", {"consecutive_error_limit": -1}, None),
        ("EEEES", {}, Verdict.PASSED),
        # Inconclusive samples add up; without a limit only the timeout counts.
        ("IIIIIIIIII", {}, None),
        ("IS", {}, Verdict.PASSED),
        ("ISI", {"inconclusive_limit": 2, "count": 9}, None),
        ("ISISI", {"inconclusive_limit": 2, "count": 9}, Verdict.INCONCLUSIVE),
        ("I", {"inconclusive_limit": 0}, Verdict.INCONCLUSIVE),
        # No data is nothing, inconclusive or a failure, but never a success.
        ("NNNNNNNNNN", {}, None),
        ("NNNS", {"inconclusive_limit": 0}, Verdict.PASSED),
        ("N", {"on_no_data": "failed"}, Verdict.FAILED),
        ("NN", {"on_no_data": "failed", "failure_limit": 1}, Verdict.FAILED),
        ("NF", {"on_no_data": "failed", "failure_limit": 2}, None),
        ("N", {"on_no_data": "inconclusive"}, None),
        ("NI", {"on_no_data": "inconclusive", "inconclusive_limit": 1}, Verdict.INCONCLUSIVE),
    ],
)
def test_limits_at_their_edge(letters: str, fields: dict[str, Any], expected: Verdict | None) -> None:
    assert verdict(letters, **fields) is expected


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("SSS", Verdict.PASSED),  # 5 s apart: the third success makes it 10 s
        ("SS", None),
        ("SSFS", None),
        ("SSFSSS", Verdict.PASSED),
        ("SSISS", None),
        ("SSISSS", Verdict.PASSED),
        ("SSESS", None),
        ("SSESSS", Verdict.PASSED),
        # Time without data is not healthy time, but it does not undo what was seen.
        ("SNNNNNNS", None),
        ("SSNS", None),
        ("SSNSS", Verdict.PASSED),
    ],
)
def test_the_last_successes_must_have_lasted(letters: str, expected: Verdict | None) -> None:
    assert verdict(letters, failure_limit=-1, **{"for": 10}) is expected


def test_no_data_that_counts_breaks_the_successes() -> None:
    assert verdict("SSNSS", on_no_data="inconclusive", **{"for": 10}) is None
    assert verdict("SSNSS", on_no_data="failed", failure_limit=-1, **{"for": 10}) is None


def test_both_count_and_duration_are_needed() -> None:
    assert verdict("SSSS", count=5, **{"for": 10}) is None
    assert verdict("SSSSS", count=5, **{"for": 10}) is Verdict.PASSED
    assert verdict("SSSS", count=2, **{"for": 20}) is None


def test_the_duration_does_not_fail_by_a_rounding_error() -> None:
    assert (START + 0.3) - START < 0.3
    gate = Gate(spec(interval=0.1, **{"for": 0.3}), START)
    for number in range(4):
        gate.note(Phase.SUCCESS, START + number * 0.1)
    assert gate.verdict(START + 0.3) is Verdict.PASSED


@pytest.mark.parametrize(
    ("letters", "fields", "expected"),
    [
        ("", {}, Verdict.INCONCLUSIVE),
        ("NNN", {}, Verdict.INCONCLUSIVE),
        ("III", {}, Verdict.INCONCLUSIVE),
        ("S", {"count": 2}, Verdict.INCONCLUSIVE),
        ("SS", {"for": 10}, Verdict.INCONCLUSIVE),
        ("F", {"failure_limit": 1}, Verdict.FAILED),
        ("FN", {"failure_limit": 1}, Verdict.FAILED),
        ("FI", {"failure_limit": 1}, Verdict.FAILED),
        # Failed comes before error.
        ("FE", {"failure_limit": 1}, Verdict.FAILED),
        ("FS", {"failure_limit": 1, "count": 2}, Verdict.INCONCLUSIVE),
        ("FSE", {"failure_limit": 1, "count": 2}, Verdict.ERROR),
        ("FSEN", {"failure_limit": 1, "count": 2}, Verdict.ERROR),
        ("E", {}, Verdict.ERROR),
        ("EN", {}, Verdict.ERROR),
        ("EI", {}, Verdict.INCONCLUSIVE),
        ("ES", {"count": 2}, Verdict.INCONCLUSIVE),
        ("N", {"on_no_data": "failed", "failure_limit": 1}, Verdict.FAILED),
        ("EN", {"on_no_data": "inconclusive"}, Verdict.INCONCLUSIVE),
    ],
)
def test_when_the_time_is_over(letters: str, fields: dict[str, Any], expected: Verdict) -> None:
    assert at_timeout(letters, **fields) is expected


def test_a_sample_that_was_under_way_at_the_timeout_counts_and_one_after_the_verdict_does_not() -> None:
    gate = Gate(spec(), START)
    gate.note(Phase.SUCCESS, START + 61)
    assert gate.verdict(START + 61) is Verdict.PASSED
    late = Gate(spec(), START)
    assert late.verdict(START + 60) is Verdict.INCONCLUSIVE
    before = late.report()
    late.note(Phase.SUCCESS, START + 61)
    assert late.verdict(START + 62) is Verdict.INCONCLUSIVE
    assert late.report() == before


def test_a_gate_whose_last_word_is_that_there_is_no_baseline_blames_nobody() -> None:
    one = Gate(spec(failure_limit=5, timeout=20, interval=5), 0.0)
    one.note(Phase.FAILURE, 0.0, "bad")
    one.note(Phase.HOLD, 5.0, "the others as well")
    one.note(Phase.NO_DATA, 10.0)
    assert one.holds
    assert one.verdict(20.0) is Verdict.BAD_BASELINE
    assert one.reason.endswith("1 failed, 1 had a baseline in trouble, 1 had no data: the others as well")
    assert one.conclude(30.0, "too late") is Verdict.BAD_BASELINE


def test_failures_may_be_counted_among_the_last_samples_only() -> None:
    one = Gate(replace(spec(failure_limit=1, count=100, timeout=1000, interval=5), failure_window=3), 0.0)
    phases = [Phase.FAILURE, Phase.SUCCESS, Phase.SUCCESS, Phase.FAILURE, Phase.SUCCESS, Phase.FAILURE]
    for number, phase in enumerate(phases):
        assert one.verdict(number * 5.0) is None
        one.note(phase, number * 5.0)
    assert one.verdict(30.0) is Verdict.FAILED


def test_combine_gives_the_worst() -> None:
    order = [Verdict.FAILED, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASSED]
    for size in range(1, 5):
        for verdicts in permutations(order, size):
            assert combine(iter(verdicts)) is min(verdicts, key=order.index)
    assert combine([]) is Verdict.PASSED


# ---------------------------------------------------------------------------------------------------------------- clock


def test_when_samples_are_due() -> None:
    gate = Gate(spec(initial_delay=12, count=9, timeout=100), START)
    assert gate.due(START) == START + 12
    assert gate.due(START + 30) == START + 30  # overdue: at once
    gate.note(Phase.SUCCESS, START + 13)
    assert gate.due(START + 13) == START + 18
    gate.note(Phase.ERROR, START + 19)
    assert gate.due(START + 19) == START + 24  # no hurry after an error
    gate.note(Phase.SUCCESS, START + 97)
    assert gate.due(START + 97) == START + 100  # the timeout is to be looked at before the next sample
    assert gate.verdict(START + 100) is Verdict.INCONCLUSIVE
    assert gate.due(START + 100) == math.inf


def test_a_sample_that_was_taken_beforehand_does_not_shorten_the_delay() -> None:
    gate = Gate(spec(initial_delay=12, count=2), START)
    gate.note(Phase.SUCCESS, START)
    assert gate.due(START) == START + 12


# -------------------------------------------------------------------------------------------------------------- reports


def test_the_report_of_a_failure() -> None:
    gate = Gate(spec(failure_limit=1, count=9), START)
    gate.note(Phase.SUCCESS, START + 0.12345, "0 of 200 requests failed (0 %)", {"p": None})
    gate.note(Phase.FAILURE, START + 5, "9 of 220 requests failed (4.1 %)", {"p": 1e-4})
    gate.note(Phase.FAILURE, START + 10, "12 of 240 requests failed (5.0 %)", {"p": 2e-9, "bad": 12})
    assert json.loads(json.dumps(gate.report())) == {
        "name": "errors",
        "stage": "traffic",
        "verdict": "failed",
        "reason": "2 of 3 samples failed and failure_limit is 1: 12 of 240 requests failed (5.0 %)",
        "samples": {"success": 1, "failure": 2, "inconclusive": 0, "error": 0, "no_data": 0, "hold": 0},
        "started": 1000.0,
        "ended": 1010.0,
        "measurements": [
            {"at": 1000.123, "phase": "success", "text": "0 of 200 requests failed (0 %)", "evidence": {"p": None}},
            {"at": 1005.0, "phase": "failure", "text": "9 of 220 requests failed (4.1 %)", "evidence": {"p": 1e-4}},
            {
                "at": 1010.0,
                "phase": "failure",
                "text": "12 of 240 requests failed (5.0 %)",
                "evidence": {"p": 2e-9, "bad": 12},
            },
        ],
    }


@pytest.mark.parametrize(
    ("letters", "fields", "reason"),
    [
        ("EEEEE", {}, "5 samples in a row could not be taken and consecutive_error_limit is 4: text 5"),
        (
            "SII",
            {"count": 2, "inconclusive_limit": 1},
            "2 of 3 samples were inconclusive and inconclusive_limit is 1: text 3",
        ),
        (
            "NI",
            {"on_no_data": "inconclusive", "inconclusive_limit": 1},
            "2 of 2 samples were inconclusive or had no data and inconclusive_limit is 1: text 2",
        ),
        ("N", {"on_no_data": "failed"}, "1 of 1 sample failed or had no data and failure_limit is 0: text 1"),
        ("FSS", {"count": 2, "failure_limit": 1}, "2 of 3 samples succeeded, 1 failed: text 3"),
        ("SSS", {"for": 10}, "3 of 3 samples succeeded, without a break for 10 of 10 s: text 3"),
        ("", {}, "it did not pass within 60 s: no sample was taken"),
        (
            "FNEI",
            {"failure_limit": -1, "count": 3, "for": 20},
            "it did not pass within 60 s: 0 of 4 samples succeeded (3 needed), 1 failed, 1 could not be taken, "
            "1 was inconclusive, 1 had no data, without a break for 0 of 20 s: text 1",
        ),
        ("NN", {}, "it did not pass within 60 s: 0 of 2 samples succeeded (1 needed), 2 had no data: text 2"),
        (
            "SE",
            {"count": 2},
            "it did not pass within 60 s: 1 of 2 samples succeeded (2 needed), 1 could not be taken: text 2",
        ),
    ],
)
def test_the_reason_names_the_numbers(letters: str, fields: dict[str, Any], reason: str) -> None:
    gate = play(letters, **fields)
    assert gate.verdict(START + 60) is not None
    assert gate.report()["reason"] == reason


def test_a_report_before_the_verdict() -> None:
    gate = play("S", count=3)
    assert (gate.report()["verdict"], gate.report()["ended"]) == (None, None)
    assert gate.report()["reason"] == "1 of 1 sample succeeded (3 needed)"


def test_a_report_shows_the_last_ten_samples_and_cannot_be_changed_from_outside() -> None:
    gate = play("S" * 11, count=12)
    assert [one["text"] for one in gate.report()["measurements"]] == [f"text {n}" for n in range(2, 12)]
    assert gate.report()["samples"]["success"] == 11
    gate.report()["measurements"].clear()
    gate.report()["samples"]["success"] = 0
    assert gate.report()["samples"]["success"] == len(gate.report()["measurements"]) + 1


def test_the_line() -> None:
    gate = Gate(spec(count=5, failure_limit=1), START)
    assert gate.line() == "errors 0/5 ok"
    for second in (0, 5, 10):
        gate.note(Phase.SUCCESS, START + second)
    gate.note(Phase.FAILURE, START + 15, "12 of 240 failed (5.0 %)")
    assert gate.line() == "errors 3/5 ok, 12 of 240 failed (5.0 %)"
    assert play("SSNS", **{"for": 10}).line() == "errors 3/1 ok, 5/10 s, text 4"


def test_a_gate_that_only_observes_can_fail_but_never_passes() -> None:
    watch = GateSpec("errors", PROBE, count=NEVER, timeout=NEVER)
    gate = Gate(watch, START)
    for second in range(0, 5000, 5):
        gate.note(Phase.SUCCESS, START + second, "fine")
    assert gate.verdict(START + 5000) is None
    assert gate.line() == "errors 1000 ok, fine"
    assert gate.report()["reason"] == "1,000 of 1,000 samples succeeded"
    gate.note(Phase.FAILURE, START + 5005)
    assert gate.verdict(START + 5005) is Verdict.FAILED


# ----------------------------------------------------------------------------------------------------------- properties

SPECS = st.builds(
    GateSpec,
    name=st.just("errors"),
    probe=st.just(PROBE),
    interval=st.integers(1, 6),
    count=st.integers(1, 4),
    failure_limit=st.integers(-1, 3),
    consecutive_error_limit=st.integers(-1, 3),
    inconclusive_limit=st.integers(-1, 3),
    hold=st.integers(0, 25),
    timeout=st.integers(10, 80),
    on_no_data=st.sampled_from(["wait", "inconclusive", "failed"]),
)
# Successes are frequent, or else hardly a sequence would pass.
SAMPLES = st.lists(st.tuples(st.integers(1, 9), st.sampled_from("SSSSSSFEIN")), max_size=25)


def reference(gate: GateSpec, samples: Sequence[tuple[float, str]], end: float) -> Verdict | None:
    """The verdict by looking at all samples again after each one, with strings instead of counters."""
    meaning = {"wait": "N", "inconclusive": "I", "failed": "F"}[gate.on_no_data]
    seen = ""
    for number, (at, _letter) in enumerate(samples, 1):
        if at >= gate.timeout:
            break
        raw = "".join(letter for _at, letter in samples[:number])
        seen = raw.replace("N", meaning)
        for limit, reached, bad in (
            (gate.failure_limit, seen.count("F"), Verdict.FAILED),
            (gate.consecutive_error_limit, len(raw) - len(raw.rstrip("E")), Verdict.ERROR),
            (gate.inconclusive_limit, seen.count("I"), Verdict.INCONCLUSIVE),
        ):
            if limit != -1 and reached > limit:
                return bad
        begin = len(seen.rstrip("SN"))
        lasted = sum(samples[i + 1][0] - samples[i][0] for i in range(begin, number - 1) if seen[i : i + 2] == "SS")
        if seen.endswith("S") and seen.count("S") >= gate.count and lasted >= gate.hold:
            return Verdict.PASSED
    if end < gate.timeout:
        return None
    if "F" in seen.rpartition("S")[2]:
        return Verdict.FAILED
    return Verdict.ERROR if seen.rstrip("N").endswith("E") else Verdict.INCONCLUSIVE


@settings(max_examples=1500, deadline=None)
@given(SPECS, SAMPLES, st.integers(0, 100))
def test_the_verdict_is_that_of_the_reference(one: GateSpec, steps: list[tuple[int, str]], rest: int) -> None:
    gate = Gate(one, START)
    now, samples, given_at = 0.0, [], None
    for gap, letter in steps:
        now += gap
        if gate.verdict(START + now) is None:
            samples.append((now, letter))
            gate.note(LETTERS[letter], START + now)
            # Asked at once or not: a verdict does not depend on it.
            if gap % 2:
                given_at = gate.verdict(START + now)
    found = gate.verdict(START + now + rest)
    assert found is reference(one, samples, now + rest)
    assert given_at in (None, found)
    if found is Verdict.PASSED:
        letters = "".join(letter for _at, letter in samples)
        assert letters.endswith("S")
        assert letters.count("S") >= one.count
        assert samples[-1][0] - samples[0][0] >= one.hold
    if found is not None:
        report = gate.report()
        for letter in "SFEIN":
            gate.note(LETTERS[letter], START + now + rest)
            assert gate.verdict(START + now + rest + 1000) is found
        assert gate.report() == report
        assert gate.due(START + now + rest) == math.inf
        assert report["verdict"] == found.value
        assert report["reason"]


@given(SPECS, st.text("SFEIN", max_size=30))
def test_samples_are_never_taken_faster_than_the_interval_nor_after_the_timeout(one: GateSpec, letters: str) -> None:
    gate = Gate(one, START)
    now, taken = START, []
    for letter in letters:
        now = gate.due(now)
        if gate.verdict(now) is not None:
            break
        taken.append(now)
        gate.note(LETTERS[letter], now)
    assert all(later - earlier >= one.interval for earlier, later in zip(taken, taken[1:]))
    assert all(START <= at < START + one.timeout for at in taken)
