# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stories that once broke a promise, as short as they could be made. They stay, whatever the generator draws later."""

from __future__ import annotations

from simulations.story import Command, Event, Release, Step, Story, Trouble, Wishes

KEPT: dict[str, Story] = {
    "a halt at a part of the weight named nobody": Story(
        services=(Wishes(weights=(5, 30, 100)),),
        commands=(Command(version="2", troubles=(Trouble(13, "store fails"),)),),
    ),
    "hosts that an earlier run had left behind were not named by a halt before their turn": Story(
        commands=(
            Command(version="2", troubles=(Trouble(6, "killed after"),)),
            Command(version="2", troubles=(Trouble(4, "store fails"),)),
        ),
    ),
    "an abort of a rollback that was resumed forgot the host of the run before": Story(
        hosts=3,
        services=(Wishes(drain_on_timeout="wait", session=60.0),),
        commands=(
            Command(version="2"),
            Command("rollback", troubles=(Trouble(23, "paused after", 200.0),)),
            Command("rollback", after=60.0),
        ),
        events=(Event("abort", 0.1, during=2),),
    ),
    "an abort that waited for a rollback to be resumed forgot the host of the run before": Story(
        hosts=3,
        services=(Wishes(drain_on_timeout="wait", session=60.0),),
        commands=(
            Command(version="2"),
            Command("rollback", troubles=(Trouble(23, "paused after", 200.0),)),
            Command(version="3"),
        ),
        events=(Event("abort", 33.3, during=2),),
    ),
    "an abort of a rollback that was resumed left a host out that the killed run had switched": Story(
        commands=(Command(version="2"), Command("rollback", troubles=(Trouble(13, "killed"),))),
        events=(Event("abort", 61.0, during=1),),
    ),
    "a host that a person kept out and put back after the drain of its turn": Story(
        hosts=1,
        commands=(Command(version="3"),),
        events=(Event("maint", -1.0), Event("put back", 29.1)),
    ),
    "a host that a person put back while its batch was drained was switched in full traffic": Story(
        services=(Wishes(batches=("100%",), min_available=0, session=20.0),),
        commands=(Command(version="2"),),
        events=(Event("maint", -1.0), Event("put back", 8.0)),
    ),
    "a good release after one that goes down when the plan has counted it": Story(
        releases=(Release("3", "flaps", 40.0, only=1),),
        commands=(Command(version="3"), Command(version="2")),
    ),
    "a release that goes down after its migration, once it is resumed, gives way to a corrected one": Story(
        hosts=3,
        releases=(Release("3", "dies", 40.0, expand=Step(reversible=False, seconds=10.0)),),
        commands=(
            Command(version="3", troubles=(Trouble(17, "paused within", 200.0),)),
            Command(version="4"),
        ),
    ),
    "a version that had proved itself and could then not be mended is what a later rollout goes back to": Story(
        hosts=1,
        services=(Wishes(min_available=0, min_healthy_time=30.0),),
        releases=(Release("2", "flaps", after=40.0), Release("3", "flaps")),
        commands=(Command(version="2"), Command(version="2"), Command(version="3")),
    ),
    "an abort that waited for a halted rollback ends it, and the command has to be given again": Story(
        hosts=5,
        services=(Wishes(batches=(2,), min_available=2),),
        commands=(Command(version="3"), Command("rollback", troubles=(Trouble(13, "lost"),))),
        events=(Event("maint"), Event("abort", 127.1, during=1)),
    ),
    "a host that left a rollout in the middle of its turn was out, and the rollback had nothing to revert": Story(
        commands=(
            Command(version="3"),
            Command(version="1", excluded=(1,), troubles=(Trouble(6, "killed after"),)),
            Command("rollback", excluded=(0,)),
        ),
    ),
    "a host that left a rollout with a version that nobody had judged was left with it by the rollback": Story(
        hosts=8,
        services=(Wishes(batches=(1, "50%"), session=4.0),),
        commands=(Command(version="4"), Command("rollback", excluded=(4,))),
        events=(Event("unlock", 43.2),),
    ),
    "a rollout whose controller slept after its end is not the last one": Story(
        hosts=3,
        services=(Wishes(batches=(2,), weights=(5, 30, 100), min_available="25%"),),
        releases=(Release("4", contract=Step(reversible=False)),),
        commands=(
            Command(version="4", troubles=(Trouble(37, "paused after", 200.0),)),
            Command(version="3", after=100.0, beside=True),
            Command("rollback"),
        ),
    ),
    "an abort that the store could not tell": Story(
        releases=(Release("3", expand=Step(seconds=100.0, fails=True)),),
        commands=(Command(version="3"),),
        events=(Event("abort", 52.1), Event("store down", 54.6)),
    ),
    "an abort while the next run waited for the lock": Story(
        releases=(Release("2", expand=Step(seconds=100.0)),),
        commands=(
            Command(version="2", troubles=(Trouble(21, "killed"),)),
            Command(version="2", after=1.0, machine="control-2"),
        ),
        events=(Event("abort", 95.6),),
    ),
    "a migration was begun after an abort that had waited for the lock": Story(
        releases=(Release("2", expand=Step()),),
        commands=(
            Command(version="2", troubles=(Trouble(3, "killed"),)),
            Command(version="2", after=1.0, machine="control-2"),
        ),
        events=(Event("abort", 10.0, during=1),),
    ),
    "a rollout was over while its migration ran on, as an abort had waited for the lock": Story(
        releases=(Release("2", expand=Step(seconds=100.0)),),
        commands=(
            Command(version="2", troubles=(Trouble(6, "killed"),)),
            Command(version="2", after=1.0, machine="control-2"),
        ),
        events=(Event("abort", 10.0, during=1),),
    ),
    "a host that a person drained with a part of its share and put back kept that part when all was done": Story(
        hosts=3,
        services=(Wishes(batches=(1,), weights=(5, 30, 100), errors_gate="off"),),
        commands=(Command(version="4"),),
        events=(Event("drain", 10.0), Event("put back", 50.0)),
    ),
    "a host that left a rollout in the middle of its turn, which was then done, was not reverted with it": Story(
        hosts=4,
        services=(Wishes(errors_gate="off"),),
        commands=(
            Command(version="2", troubles=(Trouble(24, "paused after", 200.0),)),
            Command(version="2", excluded=(0, 2, 3)),
            Command("rollback"),
        ),
        events=(Event("maint", -1.0, host=1),),
    ),
    "a migration was begun after an abort that had come while the release was installed": Story(
        releases=(Release("2", expand=Step(reversible=False)),),
        commands=(Command(version="2", troubles=(Trouble(3, "late", 20.0),)),),
        events=(Event("abort", 5.0),),
    ),
    "a rollout that could not be installed any more was over while its migration ran on": Story(
        releases=(Release("2", expand=Step(seconds=100.0)),),
        commands=(Command(version="2"), Command(version="2", troubles=(Trouble(3, "fails"),))),
        events=(Event("abort", 30.0),),
    ),
    "the only host, which a person had kept out, was let in by a load balancer that forgot": Story(
        hosts=1,
        services=(Wishes(errors_gate="pause"),),
        commands=(Command(version="2"), Command(version="3")),
        events=(Event("maint"), Event("balancer forgets", during=1)),
    ),
    "a version that fails on a host that is new has not failed where it has proved itself": Story(
        hosts=6,
        releases=(Release("3", "never-starts", only=5), Release("4", "never-ready")),
        commands=(Command(version="3", hosts=5), Command(version="3"), Command(version="4")),
    ),
    "an abort of a frozen rollout, which its rollback did not resume, is none of its successor": Story(
        releases=(
            Release("3", expand=Step(seconds=100.0)),
            Release("4", "flaps", expand=Step(reversible=False, seconds=10.0)),
        ),
        commands=(Command(version="4"), Command("rollback"), Command(version="3")),
        events=(Event("abort", during=1),),
    ),
    "an abort of a frozen rollout is none of the one that takes its place": Story(
        releases=(Release("4", "hangs", expand=Step(reversible=False, seconds=100.0)),),
        commands=(Command(version="4"), Command(version="2")),
        events=(Event("abort", during=1),),
    ),
    "a host that a killed rollback had drained stayed out when its version could not be installed any more": Story(
        hosts=3,
        services=(Wishes(min_available="25%", drain_on_timeout="wait", session=60.0),),
        commands=(
            Command(version="4"),
            Command("rollback", troubles=(Trouble(8, "paused", 200.0),)),
            Command("rollback", troubles=(Trouble(3, "fails"),)),
        ),
    ),
    "a host that is still drained at a load balancer that a run did not have is missing for the way back": Story(
        hosts=4,
        balancers=2,
        services=(Wishes(min_available="75%", session=20.0),),
        commands=(
            Command(version="2", troubles=(Trouble(25, "paused after", 200.0),)),
            Command(version="2", balancers=(1,), troubles=(Trouble(18, "paused after", 200.0),)),
        ),
    ),
    "a host that was excluded in the middle of its turn never came back": Story(
        services=(Wishes(min_healthy_time=0.0),),
        commands=(
            Command(version="2", troubles=(Trouble(12, "paused after", 200.0),)),
            Command("rollback", excluded=(1,)),
        ),
    ),
    "a host that was only mended had no way back": Story(
        commands=(Command(version="1"), Command(version="1"), Command(version="3")),
        events=(Event("balancer cut off from a host", 11.0, host=1),),
    ),
    "a host that a person drained while it was judged was put back by the way back": Story(
        services=(Wishes(session=4.0),),
        commands=(Command(version="3"),),
        events=(Event("drain", 32.2, host=1),),
    ),
    "a host that a person drained between two runs stays out": Story(
        hosts=3,
        commands=(Command(version="2", troubles=(Trouble(13, "store fails"),)), Command(version="2", after=60.0)),
        events=(Event("drain", 40.0, host=2),),
    ),
    "a host that a person drained between two shares of traffic stays out": Story(
        services=(Wishes(weights=(10, 100), errors_gate="off"),),
        commands=(Command(version="2"),),
        events=(Event("drain", 7.1),),
    ),
    "a host that a person had drained and the rollout could not mend was put back by the next one": Story(
        hosts=1,
        releases=(Release("4", expand=Step(reversible=False)),),
        commands=(Command(version="4"), Command(version="3")),
        events=(Event("drain", -1.0),),
    ),
    "a host that a person had drained and the way back could not reach was put back by the next rollout": Story(
        hosts=1,
        commands=(Command(version="2"), Command(version="2")),
        events=(Event("drain", -1.0), Event("disk full", 18.7), Event("disk free", 5.0, during=1)),
    ),
    "a rollout that came to nothing did not name a host that the one before had left behind": Story(
        releases=(Release("3", expand=Step(reversible=False)),),
        commands=(
            Command(version="3"),
            Command(version="4", troubles=(Trouble(5, "paused", 200.0),)),
            Command(version="2"),
        ),
        events=(Event("abort", 22.2),),
    ),
    "a host that a person put back while the rollout went on was switched in full traffic": Story(
        services=(Wishes(min_available=0),),
        commands=(Command(version="3"), Command(version="2")),
        events=(
            Event("disk full", 27.1, during=1, host=1),
            Event("maint"),
            Event("put back", 15.3, during=1),
        ),
    ),
    "a rollback of a rollout that came to nothing went past the migration of the one before": Story(
        releases=(Release("2", "corrupt"), Release("3", "dies", expand=Step(reversible=False, seconds=100.0))),
        commands=(Command(version="3"), Command(version="2"), Command("rollback")),
    ),
    "a host that left a rollout with traffic was taken for one that the rollout had drained": Story(
        hosts=4,
        commands=(
            Command(version="3", excluded=(0, 1, 3)),
            Command("rollback", excluded=(0, 1, 2)),
            Command(version="4"),
        ),
        events=(Event("pause", 14.3), Event("drain", during=1, host=2)),
    ),
    "a host that a person drained at a load balancer of which the rollout knew nothing was put back there": Story(
        hosts=1,
        balancers=2,
        commands=(Command(version="3"), Command(version="4", balancers=(1,))),
        events=(Event("drain", 33.7, during=1), Event("balancer cut off from a host", balancer=1)),
    ),
    "a host that a person drained at a load balancer of which a rollout that failed knew nothing": Story(
        hosts=1,
        balancers=2,
        services=(Wishes(min_available=0),),
        releases=(Release("3", "errors"),),
        commands=(Command(version="3", balancers=(1,)), Command(version="2")),
        events=(
            Event("drain", 5.0, balancer=0),
            Event("disk full", 8.0),
            Event("disk free", 5.0, during=1),
        ),
    ),
    "a load balancer that a run did not have comes back with what an earlier run had drained there": Story(
        balancers=2,
        services=(Wishes(min_available=1, drain_on_timeout="wait", pause_timeout=60.0, session=20.0),),
        commands=(Command(version="3"), Command("rollback", balancers=(0,), after=47.1)),
        events=(Event("balancer cut off from a host", 51.5), Event("abort", 58.5)),
    ),
    "a drain that was given up left a host drained where it had not been up before": Story(
        hosts=1,
        services=(Wishes(session=60.0),),
        commands=(Command(version="3"),),
        events=(Event("balancer cut off from a host"),),
    ),
    "a host that a person drained while the store did not take the rollout's own drain was put back": Story(
        commands=(Command(version="2"),),
        events=(Event("store down", 3.0), Event("drain", 11.2)),
    ),
    "a controller stood still, and a host that a person drained meanwhile was put back when the store was gone": Story(
        hosts=1,
        services=(Wishes(min_available=0),),
        commands=(Command(version="2", troubles=(Trouble(3, "paused", 200.0),)),),
        events=(Event("store down", 62.1), Event("drain", 44.8)),
    ),
    "a host that a person took out while its load balancer waited for another one was put back": Story(
        hosts=3,
        services=(Wishes(batches=(2,), min_available="25%", session=4.0),),
        commands=(Command(version="2"), Command("rollback"), Command(version="2")),
        events=(Event("host dies", 94.5, during=1), Event("maint", 96.3, during=1, host=1)),
    ),
    "a host that a person drained at the one load balancer that had let it in again was put back": Story(
        balancers=2,
        services=(Wishes(batches=("100%",), min_available=0, session=60.0),),
        releases=(Release("3", expand=Step(seconds=100.0)),),
        commands=(Command(version="3"), Command("rollback")),
        events=(
            Event("drain", during=1, host=1),
            Event("balancer cut off from a host", 62.4, host=1, balancer=1),
        ),
    ),
    "a rollback whose hosts went down again was halted for ever, and held up every other rollout": Story(
        releases=(Release("2", "never-ready", after=40.0),),
        commands=(
            Command(version="2"),
            Command(version="3"),
            Command("rollback", troubles=(Trouble(14, "killed after"),)),
        ),
    ),
    "a release that goes down after its migration could neither go back nor give way to another one": Story(
        hosts=1,
        services=(Wishes(min_available=0),),
        releases=(Release("2", "never-ready", after=18.0, contract=Step(reversible=False, seconds=10.0)),),
        commands=(Command(version="2"), Command(version="3")),
    ),
    "a bad release on the only host, which had not been up before, stayed in traffic for ever": Story(
        hosts=1,
        releases=(Release("2", "errors"),),
        commands=(Command(version="2"),),
        events=(Event("balancer cut off from a host"),),
    ),
    "a rollout that came to nothing did not name a host that the one before had left with a part of its share": Story(
        hosts=2,
        services=(Wishes(min_available=0),),
        releases=(Release("3", expand=Step(seconds=100.0)),),
        commands=(
            Command(version="2", excluded=(1,), troubles=(Trouble(8, "paused after", 200.0),)),
            Command("rollback", excluded=(0,)),
            Command(version="3"),
            Command(version="2"),
        ),
        events=(Event("abort", 26.5, during=2),),
    ),
    "a bad host that had to stay in traffic, and that a person then drained, was put back by the next rollout": Story(
        releases=(Release("2", "errors", expand=Step(reversible=False)),),
        commands=(Command(version="2"), Command(version="3")),
        events=(Event("maint", 8.0, host=1), Event("drain", 0.0, during=1)),
    ),
    "a release that nobody had judged got all traffic when the store failed while it was activated": Story(
        releases=(Release("2", "errors"),),
        commands=(Command(version="2", troubles=(Trouble(6, "store fails"),)),),
    ),
    "a host that was left behind with a release that failed was put back when the next rollout was broken off": Story(
        services=(Wishes(session=0.0),),
        releases=(Release("4", "hangs"),),
        commands=(Command(version="4", troubles=(Trouble(18, "fails"),)), Command(version="3", rides=False)),
        events=(Event("store down", 60.2),),
    ),
    "rollouts from controllers whose clocks differ are reverted in the order in which they were": Story(
        commands=(Command(version="2", skew=7200.0), Command(version="3"), Command("rollback")),
    ),
    "a host that a person had drained before all stays out when a rollout goes on in the middle of its turn": Story(
        services=(Wishes(min_available=0),),
        commands=(Command(version="2", troubles=(Trouble(8, "store fails"),)), Command(version="2")),
        events=(Event("drain", -1.0),),
    ),
    "a host that a person had drained stays out when it leaves a rollout in its turn and comes back": Story(
        services=(Wishes(min_available=0),),
        commands=(
            Command(version="2", troubles=(Trouble(8, "store fails"),)),
            Command(version="2", excluded=(0,)),
            Command(version="2"),
        ),
        events=(Event("drain", -1.0),),
    ),
    "a controller that stood still between its look at the lock and its drain": Story(
        commands=(
            Command(version="2", troubles=(Trouble(5, "paused within", 200.0),)),
            Command("rollback", beside=True, after=60.0, machine="control-2"),
        ),
    ),
    "a release that failed is not what a later rollout goes back to": Story(
        releases=(Release("2", "errors"),),
        commands=(Command(version="2"), Command(version="1")),
        events=(Event("weigh less", 20.0), Event("abort", 12.0, during=1)),
    ),
    "one host of a batch cannot be brought back": Story(
        hosts=4,
        services=(Wishes(batches=(2,), min_available=0),),
        commands=(Command(version="2"), Command("rollback")),
        events=(Event("disk full", 4.0, during=1),),
    ),
    "a host that a rollout had left behind took part neither in the next one nor in its rollback": Story(
        hosts=8,
        commands=(Command(version="3"), Command(version="3", excluded=(2, 4, 5, 7, 8)), Command("rollback")),
        events=(Event("balancer cut off from a host", 4.3, host=7),),
    ),
    "a host that a rollout had left behind took no part in the next one, which came to nothing": Story(
        hosts=8,
        releases=(Release(version="4", expand=Step(seconds=100.0, fails=True)),),
        commands=(
            Command(version="2"),
            Command(version="4", excluded=(0, 1, 3, 4, 5, 7, 8, 9, 10, 11)),
            Command("rollback"),
        ),
        events=(Event("host dies", 42.2, host=7),),
    ),
    "a host that a person took out in its turn came back with the part of its share when all was over": Story(
        hosts=1,
        services=(Wishes(min_available=0, session=4.0),),
        commands=(Command(version="3"), Command("rollback")),
        events=(Event("maint", 11.3), Event("put back", during=1)),
    ),
    "two controllers at once": Story(commands=(Command(version="2"), Command(version="3", beside=True, after=10.0))),
    "a rollback reverts what two rollouts have brought": Story(
        commands=(Command(version="2", excluded=(0,)), Command(version="2"), Command("rollback")),
    ),
    "an abort while a migration runs": Story(
        releases=(Release("2", expand=Step(seconds=100.0)),),
        commands=(Command(version="2"),),
        events=(Event("abort", 20.0),),
    ),
    "an answer of the store that was lost while a batch was judged": Story(
        hosts=2,
        commands=(Command(version="2", troubles=(Trouble(25, "store lost"),)),),
    ),
}

KNOWN: dict[str, str] = {}
"""Promises that the product is known to break, and why; each goes with its mend."""
