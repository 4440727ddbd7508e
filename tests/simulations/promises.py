# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The promises. Each is a function that is given every act it is about, and says how the act breaks it, or nothing.

``memory`` is kept through one story, for the promises that have to remember.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any, TypeVar

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from simulations.acts import Act, Ended, Migrates, PutIn, Run, Slept, Story, Switched, TakenOut, Watched
from simulations.estate import Estate

Memory = dict[str, Any]
Kind = TypeVar("Kind", bound=Watched)
Check = Callable[[Any, Memory], "str | None"]
ENDS = "every run ends, in a state that the next command can finish"
NOTICED = 3.0
"""Seconds within which nobody can be blamed for not having seen what a person has just done."""
OBEYED = 30.0
"""Seconds within which a person's flag is obeyed, steps that are under way included."""
BEGINS = 1.0
"""Seconds that lie between a run's last look at a person's flag and what it then does."""
GOES_DOWN = ("never-ready", "flaps", "dies")
"""What a release may do wrong that takes it out of traffic when it has been up for some time."""
BLIND = 5.0
"""The longest that a run may sleep without looking at anything."""

_PROMISES: list[tuple[str, type[Any], Check]] = []
_ABOUT: dict[type[Any], list[tuple[str, Check]]] = {}
"""The promises by the kind of act that they are about."""


def promise(sentence: str, about: type[Kind]) -> Callable[[Callable[[Kind, Memory], str | None]], Any]:
    """Let a function watch over a promise whenever something of the given kind happens."""

    def note(check: Callable[[Kind, Memory], str | None]) -> Any:
        _PROMISES.append((sentence, about, check))
        return check

    return note


def judge(act: Watched, memory: Memory) -> Iterator[tuple[str, str]]:
    """The promises that an act breaks, and how."""
    kind = type(act)
    if kind not in _ABOUT:
        _ABOUT[kind] = [(sentence, check) for sentence, about, check in _PROMISES if issubclass(kind, about)]
    for sentence, check in _ABOUT[kind]:
        how = check(act, memory)
        if how:
            yield sentence, how


# ------------------------------------------------------------------------------------------------------------- capacity


@promise("never fewer servers are available at a load balancer than promised because of a run", TakenOut)
def capacity(act: TakenOut, memory: Memory) -> str | None:
    """A server that does what it should is taken out only where enough others are left.

    One that goes back takes nothing away where it was not up before its turn.
    """
    least, record = act.run.settings.least, act.run.record
    back = record is not None and (record.direction == state.BACK or record.kind == "rollback")
    as_before = record is not None and back and act.balancer in record.hosts[act.host].down_at
    if act.served and act.well and act.left < least and not as_before:
        return f"{act.host} was taken out at {act.balancer}, where {act.left} are left of {least} that were promised"
    return None


# ------------------------------------------------------------------------------------------------------------- the plan


@promise("check mode says what the run does", Ended)
def as_planned(act: Ended, memory: Memory) -> str | None:
    """When nothing has happened in between the run decides what the plan said, its refusals included."""
    planned, decided = act.run.planned, act.run.decided
    if planned is None or decided is None or planned == decided:
        return None
    told = [one.name for one in fields(planned) if getattr(planned, one.name) != getattr(decided, one.name)]
    return "; ".join(f"{name}: {getattr(planned, name)}, not {getattr(decided, name)}" for name in told)


@promise("check mode says what the run does", Act)
def within_the_plan(act: Act, memory: Memory) -> str | None:
    """No run touches a host that its own decision does not name, or lets it run anything else."""
    decided = act.run.decided
    if decided is None or not isinstance(act, (TakenOut, PutIn, Switched)):
        return None
    if act.host not in decided.versions:
        return f"{act.host} was changed, of which the plan says nothing"
    if isinstance(act, Switched) and act.version not in decided.versions[act.host]:
        return f"{act.host} was switched to {act.version}, of which the plan says nothing"
    return None


# -------------------------------------------------------------------------------------------------------- people's word


@promise("what a person took out stays out", PutIn)
def stays_out(act: PutIn, memory: Memory) -> str | None:
    """Nobody but a person puts back a server that a person has taken out, if it could know.

    A drain by hand cannot be told from the drain of a run that was killed before it could say how far it came, nor
    from one whose answer was lost; the state maint can.
    """
    told = act.run.deaf_at < act.person_at and (act.was == "maint" or not memory.get("killed"))
    if act.by_person and told and act.at - act.person_at > NOTICED:
        return f"{act.host} was put back at {act.balancer}"
    return None


@promise("what a person took out stays out", Ended)
def note_killed(act: Ended, memory: Memory) -> str | None:
    """Remember that a run could not say how far it came, or was not told."""
    run = act.run
    deaf = run.deaf_at >= 0 and (run.record is None or not run.record.finished)
    memory["killed"] = memory.get("killed", False) or run.killed or run.client.lost or run.client.unsaid or deaf
    return None


@promise("a run never waits longer than a person's word may wait", Slept)
def never_blind(act: Slept, memory: Memory) -> str | None:
    """Whoever waits looks up every few seconds."""
    return f"it slept {act.seconds:.0f} s at once" if act.seconds > BLIND else None


@promise("a person's flag is used up exactly once", Ended)
def used_up_once(act: Ended, memory: Memory) -> str | None:
    """No promotion goes for two waits, and none outlives the rollout that it was given to."""
    record = act.run.record
    if record is None:
        return None
    used = sum("promoted by a person" in event["text"] for event in record.events)
    given = memory.get("promotions", {}).get(record.id, 0)
    return f"{used} waits were ended by {given} promotions" if used > given else None


@promise("an abort is obeyed within seconds", TakenOut)
def aborted(act: TakenOut, memory: Memory) -> str | None:
    """After an abort no other host's turn begins."""
    return _after_abort(act, lambda record: record.phase(act.host) in (*state.UNTOUCHED, state.DRAINING))


@promise("an abort is obeyed within seconds", Migrates)
def aborted_migration(act: Migrates, memory: Memory) -> str | None:
    """After an abort nobody goes on waiting for a migration, and none is begun."""
    known = act.run.abort_known_at
    late = all(trouble.what == "late" for trouble in act.run.command.troubles)
    if act.begun and known is not None and act.at - known > BEGINS and late:
        return f"{act.step} was begun {act.at - known:.0f} s after the run had heard of the abort"
    return _after_abort(act, lambda record: True)


def _after_abort(act: Act, meant: Callable[[Any], bool]) -> str | None:
    run, record = act.run, act.run.record
    at = run.flag("abort")
    if at is None or record is None or run.troubles or record.direction == state.BACK:
        return None
    # A store that gives no answer tells nobody of an abort.
    known_s = act.at - at - run.client.silent_s(act.at - at)
    return f"it went on {known_s:.0f} s after the abort" if known_s >= OBEYED and meant(record) else None


@promise("an abort is obeyed within seconds", Ended)
def aborted_run(act: Ended, memory: Memory) -> str | None:
    """A run that was aborted in time does not succeed."""
    run = act.run
    at = run.flag("abort")
    if at is None or run.troubles or run.record is None or run.record.status != state.SUCCEEDED:
        return None
    return f"it was done {act.at - at:.0f} s after the abort" if act.at - at > OBEYED else None


# ------------------------------------------------------------------------------------------------------------- the lock


@promise("nothing changes without the lock", Act)
def only_with_the_lock(act: Act, memory: Memory) -> str | None:
    """A run changes nothing that its successor has changed, and nothing at all once it knows that the lock is lost."""
    if not isinstance(act, (TakenOut, PutIn, Switched, Migrates)):
        return None
    what = (act.run.service, act.balancer if isinstance(act, (TakenOut, PutIn)) else act.host)
    newest: dict[Any, int] = memory.setdefault("newest", {})
    if act.run.warned:
        return f"{what[1]} was changed by a run that had been told that its lock is lost"
    if act.run.client.number < newest.get(what, 0):
        return f"{what[1]} was changed by a run whose successor had changed it already"
    newest[what] = act.run.client.number
    return None


@promise("nothing changes without the lock", Ended)
def one_at_a_time(act: Ended, memory: Memory) -> str | None:
    """Nobody takes the lock from somebody who holds it, unless that one's process is known to be gone."""
    return "it took the lock from somebody who held it" if act.run.client.robbed else None


# --------------------------------------------------------------------------------------------------------- the way back


@promise("no process is switched while it takes traffic", Switched)
def drained_first(act: Switched, memory: Memory) -> str | None:
    """Whoever gets another version has been drained at every load balancer of the inventory."""
    if not act.serving or act.before == act.version or act.run.troubles:
        return None
    return f"{act.host} was switched to {act.version} while {', '.join(act.serving)} sent it traffic"


@promise("sessions on a release that was judged bad hold up no way back", Ended)
def not_held_up(act: Ended, memory: Memory) -> str | None:
    """They have a short deadline of their own, whatever the service's is."""
    record = act.run.record
    if record is None or record.kind != "rollout" or record.status != state.ROLLING_BACK:
        return None
    if act.run.killed or act.run.client.lost or not record.condemned:
        return None
    halts = [one["text"] for one in record.events[-3:] if one["text"].startswith("halted: ")]
    return next((text for text in halts if "outlived the drain deadline" in text), None)


@promise("a rollback reverts the last release, on all hosts that run it, and nothing else", Ended)
def whole_release(act: Ended, memory: Memory) -> str | None:
    """After it no host runs that release any more, but those that are named."""
    run, record = act.run, act.run.record
    last: dict[str, tuple[str, str, int]] = memory.setdefault("last rollout", {})
    brought: set[tuple[str, str, str]] = memory.setdefault("brought", set())
    if record is not None and record.finished and run.killed:
        # Nobody knows whether the store has it.
        last.pop(run.service, None)
    version, status, number = last.get(run.service, ("", "", 0))
    taken = [host for host in run.settings.hosts if (run.service, version, host) in brought]
    left = [host for host in taken if act.estate.hosts[host].apps[run.service].current == version]
    if left and status == state.SUCCEEDED and "there is nothing to revert" in run.refusal:
        return f"it found nothing to revert, and {', '.join(left)} still runs {version}"
    midway = [host for host in memory.get("left midway", {}).get(run.service, ()) if host in run.settings.hosts]
    midway = [host for host in midway if act.estate.hosts[host].apps[run.service].current == version]
    if midway and "so there is nothing to revert" in run.refusal:
        return f"it found nothing to revert, and {', '.join(midway)} was left with {version} in the middle of its turn"
    if record is None or not record.finished or run.killed or run.refusal:
        return None
    if record.kind == "rollout":
        new = [host for host, one in record.hosts.items() if one.previous != one.target]
        brought.update((run.service, record.version, host) for host in new)
        # One whose hosts have all left it is the last as well; one that only ends later than its successor is not.
        if (record.hosts or record.left) and run.client.number > number:
            last[run.service] = (record.version, record.status, run.client.number)
            midst = (*state.UNDER_WAY, state.FAILED)
            under_way = {host: one for host, one in record.left.items() if one.phase in midst}
            gone = [host for host, one in under_way.items() if one.previous not in (None, one.target)]
            memory.setdefault("left midway", {})[run.service] = gone
        return None
    if (record.status, status) != (state.SUCCEEDED, state.SUCCEEDED) or record.resumed:
        # One that is resumed goes on with the hosts that it began with.
        return None
    unsaid = [host for host in left if host not in record.reason]
    return f"{', '.join(unsaid)} still runs {version}" if unsaid else None


@promise("a rollback reverts the last release, on all hosts that run it, and nothing else", Switched)
def nothing_else(act: Switched, memory: Memory) -> str | None:
    """After a rollout that came to nothing there is nothing to revert on a host that serves.

    But on one that has left it in the middle of its turn there is.
    """
    record = act.run.record
    _version, status, _number = memory.get("last rollout", {}).get(act.run.service, ("", "", 0))
    if record is None or record.kind != "rollback" or status != state.REVERTED or record.resumed:
        return None
    if act.host in memory["left midway"][act.run.service]:
        return None
    names = [name for name, host in act.run.in_traffic if host == act.host]
    sound = all(act.run.in_traffic[name, act.host] for name in names) and act.before != act.version
    return f"{act.host} went back from {act.before} to {act.version}, one too far" if sound else None


@promise("no version that failed is ever put into full traffic again", PutIn)
def never_again(act: PutIn, memory: Memory) -> str | None:
    """Only a person who names it may try it again."""
    running = act.estate.hosts[act.host].apps[act.run.service].running
    failed = memory.get("failed", set())
    asked = act.run.command.what == "rollout" and act.run.command.version == running
    if act.percent == 100 and (act.run.service, running, act.host) in failed and not asked:
        return f"{act.host} got its whole share at {act.balancer} with {running}"
    return None


@promise("no version is put into full traffic before it is judged", PutIn)
def judged_first(act: PutIn, memory: Memory) -> str | None:
    """What a rollout brings gets its whole share in its host's turn, and not because the turn is broken off."""
    record, running = act.run.record, act.estate.hosts[act.host].apps[act.run.service].running
    if record is None or record.kind != "rollout" or record.direction == state.BACK or act.percent < 100:
        return None
    one = record.hosts[act.host]
    new = running == one.target != one.previous
    broken_off = one.phase not in (state.HEALTHY, state.IN_SERVICE, state.DONE)
    return f"{act.host} got its whole share at {act.balancer} with {running}" if new and broken_off else None


@promise("no version that failed is ever put into full traffic again", Ended)
def note_failed(act: Ended, memory: Memory) -> str | None:
    """Remember what was judged, where the judgement was right.

    Where hosts ran the version already, and were only to be mended, nothing new was judged: it has proved itself by a
    rollout that was done, and they are not worse off with it than they were found.
    """
    record = act.run.record
    if record is None or record.kind != "rollout" or not _judged(record.reason):
        return None
    gone_back = record.direction == state.BACK or record.status == state.BROKEN
    if gone_back and act.estate.release(record.version).fault:
        hosts = [host for host, one in record.hosts.items() if one.previous != one.target]
        memory.setdefault("failed", set()).update((act.run.service, record.version, host) for host in hosts)
    return None


def _judged(reason: str) -> bool:
    return reason.startswith(("gate ", "activation", "balancers"))


@promise("a migration that cannot be undone is never passed on the way back", Switched)
def never_past(act: Switched, memory: Memory) -> str | None:
    """A way back leads to no version that is older than what such a migration belongs to."""
    irreversible = _irreversible(act.estate, act.run.service)
    record = act.run.record
    back = record is not None and (record.direction == state.BACK or record.kind == "rollback")
    chosen: set[Any] = memory.setdefault("chosen", set())
    if not back:
        # A person who names an older version has decided that it can live with what the migration has left.
        chosen.update((act.run.service, version) for version in irreversible if version > act.version)
    passed = [one for one in irreversible if one > act.version and (act.run.service, one) not in chosen]
    if back and passed and act.before != act.version:
        return f"{act.host} went back to {act.version} past the migration of {passed[-1]}"
    return None


def _irreversible(estate: Estate, service: str) -> list[str]:
    found = []
    for version, name in estate.migrated[service]:
        step = getattr(estate.release(version), name)
        if step is not None and not step.reversible:
            found.append(version)
    return sorted(found)


# ------------------------------------------------------------------------------------------------------- how a run ends


@promise("a bad release is never done", Ended)
def bad_is_never_done(act: Ended, memory: Memory) -> str | None:
    """A release that misbehaves from its start, on every host, is found."""
    record = act.run.record
    if record is None or record.kind != "rollout" or record.status != state.SUCCEEDED or not record.hosts:
        return None
    release = act.estate.release(record.version)
    ready_fault = release.fault in ("never-starts", "never-ready", "corrupt", "dies")
    gates = act.run.settings.gates
    seen = ready_fault or (release.fault in ("errors", "hangs") and "errors" in gates)
    in_traffic = any(
        act.estate.serving(act.run.service, host, name) for host in record.hosts for name in record.balancers
    )
    patient = act.run.settings.min_healthy_time >= 10
    promoted = any("promote" in event["text"] for event in record.events)
    if (
        seen
        and release.after == 0
        and release.only is None
        and (in_traffic or ready_fault)
        and patient
        and not promoted
    ):
        return f"{record.version}, which is {release.fault}, was called done"
    return None


@promise("a good release without faults and without people is always done", Ended)
def good_is_done(act: Ended, memory: Memory) -> str | None:
    """Nothing happens, nothing is wrong: it is rolled out."""
    run = act.run
    peaceful = memory.get("quiet") and run.command.what == "rollout" and act.estate.release(run.command.version).good
    if not peaceful or (run.record is not None and run.record.status == state.SUCCEEDED):
        return None
    said = run.refusal or f"{run.record.status if run.record else 'nothing'}: {run.record.reason if run.record else ''}"
    expected = ["which leaves", "unfinished", "outlived the drain deadline"]
    running = [act.estate.release(host.apps[run.service].running) for host in act.estate.hosts.values()]
    if any(release.fault in GOES_DOWN and release.after > 0 for release in running):
        # What runs until now may go down after the plan has counted it.
        expected.append("would be left")
    return None if any(reason in said for reason in expected) else said


@promise("no rollout is over while its migration runs", Ended)
def migrated_to_the_end(act: Ended, memory: Memory) -> str | None:
    """Its record is closed when nothing of it runs any more, as far as the host can be asked.

    One of which the host has said that it failed has ended; a request that is done twice begins it anew behind that.
    """
    run, record = act.run, act.run.record
    if record is None or not record.finished or record.kind != "rollout":
        return None
    known = {name: step for name, step in record.migrations.items() if step.state != "failed"}
    asked = [name for name, step in known.items() if step.host in run.settings.hosts]
    ends = {name: act.estate.migrated[run.service].get((record.version, name), 0.0) for name in asked}
    running = [name for name, end in ends.items() if end > act.at]
    return f"{', '.join(running)} of {record.version} runs on" if running else None


@promise("no run ends with an error that nobody expected", Ended)
def no_defect(act: Ended, memory: Memory) -> str | None:
    """What the engine catches as a defect of its own is one."""
    return act.run.defect.strip().splitlines()[-1] if act.run.defect else None


@promise("no host ends worse than it was found, unless the report says so by name", Ended)
def as_found(act: Ended, memory: Memory) -> str | None:
    """Whoever was in traffic is in traffic, or is named."""
    run = act.run
    if run.killed or run.client.lost:
        return None
    told = _told(run)
    worse = [host for host in _worse(act) if host not in told]
    return f"{', '.join(worse)} does not take its whole share any more, which nothing says" if worse else None


@promise("no run leaves a healthy host out of traffic when it is over", Ended)
def healthy_is_in(act: Ended, memory: Memory) -> str | None:
    """What is out when a record is closed is out for a reason of its own."""
    run = act.run
    if run.killed or run.troubles or run.client.lost or run.record is None or not run.record.finished:
        return None
    wronged = [host for host in _worse(act) if act.estate.well(run.service, host) and host not in run.troubled]
    return f"{', '.join(wronged)} is well and out of traffic" if wronged else None


def _worse(act: Ended) -> list[str]:
    """Hosts that took their whole share somewhere when the run began, and do not now, because of the run."""
    found: list[str] = []
    run = act.run
    for (name, host), before in run.in_traffic.items():
        server = act.estate.balancers[name].servers[act.run.service, host]
        now = server.admin == "ready" and server.percent >= 100
        mine = (name, host) in run.took_out and not server.by_person
        if before and not now and mine and host not in found:
            found.append(host)
    return found


def _told(run: Run) -> str:
    record = run.record
    if record is None:
        return run.refusal
    failed = [host for host, one in record.hosts.items() if one.phase == state.FAILED]
    return " ".join([run.refusal, record.advice, record.reason, *failed])


@promise(ENDS, Story)
def converges(act: Story, memory: Memory) -> str | None:
    """When everything works again the last command succeeds, or says why it is not needed."""
    for run in act.last:
        how = _unfinished(act, run)
        if how:
            return how
    return None


_ALLOWED = (
    "min_available is",
    "nothing to revert",
    "none to go back to",
    "no finished rollout",
    "keeps the one",
)


def _unfinished(act: Story, run: Run) -> str | None:
    estate, record = act.estate, run.record
    if run.refusal:
        out = _needlessly_out(act, run, run.settings.hosts) if "nothing to revert" in run.refusal else ""
        return out or (None if any(reason in run.refusal for reason in _ALLOWED) else f"refused: {run.refusal}")
    if record is None:
        return "it has no record"
    if not record.finished:
        # With servers that a person has taken out there may be nothing to judge by, or too few others.
        waits = any(reason in record.reason for reason in ("nobody went on", " inconclusive: "))
        waits = waits and any(
            _by_person(estate, run, host) or _forgotten(act, run, host) or _let_in(estate, run, host)
            for host in run.settings.hosts
        )
        # A version that hangs and that a later one takes the place of is drained as any other; what helps is said.
        waits |= "set its drain.on_timeout to kill" in record.reason and any(
            estate.fault(run.service, host) == "hangs" for host in record.hosts
        )
        return None if waits else f"{record.status} for ever: {record.reason}"
    left = [host for host in record.hosts if not (host in record.advice and _left_as_found(estate, run, host))]
    return _needlessly_out(act, run, left)


def _needlessly_out(act: Story, run: Run, hosts: Iterable[str]) -> str | None:
    """Hosts that are well and do not take their whole share, although nobody but runs has changed them."""
    estate = act.estate
    out = [
        host
        for host in hosts
        if estate.well(run.service, host)
        and not estate.whole(run.service, host)
        and not (_by_person(estate, run, host) or _weighed(estate, run, host) or _forgotten(act, run, host))
    ]
    how = f"was {run.record.status}" if run.record else "had nothing to revert"
    return f"{', '.join(out)} is well and out of traffic after the last command, which {how}" if out else None


def _left_as_found(estate: Estate, run: Run, host: str) -> bool:
    """Whether a rollout that came to nothing has not touched it, and found it as an earlier one had left it."""
    assert run.record is not None
    one = run.record.hosts[host]
    servers = [balancer.servers[run.service, host] for balancer in estate.balancers.values()]
    partly_in = any(server.admin == "ready" and server.percent < 100 for server in servers)
    return one.phase in state.UNTOUCHED and (one.left_out or partly_in)


def _by_person(estate: Estate, run: Run, host: str) -> bool:
    return any(one.servers[run.service, host].by_person for one in estate.balancers.values())


def _let_in(estate: Estate, run: Run, host: str) -> bool:
    """Whether a load balancer that forgot has let it in, where it was out when the rollout counted who is there."""
    return any((run.service, host) in one.forgotten for one in estate.balancers.values())


def _weighed(estate: Estate, run: Run, host: str) -> bool:
    return any(one.servers[run.service, host].weighed for one in estate.balancers.values())


def _forgotten(act: Story, run: Run, host: str) -> bool:
    """Whether a load balancer where it is out was no part of some run, which so left it as it was.

    A run that has a record names it now; one that was refused has none.
    """
    narrow = {name for one in act.runs for name in act.estate.balancers if name not in one.settings.balancers}
    if run.record is None:
        return any(not act.estate.balancers[name].takes_whole(run.service, host) for name in narrow)
    kept = run.record.kept_out
    return any(host in hosts for name, hosts in kept.items() if name in narrow)
