# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a rollout: what it works on, what it writes, and the person whom it obeys. No Ansible in here."""

from __future__ import annotations

from ansible_collections.mesops.platform.plugins.module_utils._record import state
from ansible_collections.mesops.platform.plugins.module_utils._record.state import Record
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.interruptions import Aborted, Halt
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.plan import Settings
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.snapshot import Snapshot
from ansible_collections.mesops.platform.plugins.plugin_utils._rollout.world import StoreLost, World

CONTROL_POLL = 3.0


class Run:
    """One run, with one record."""

    def __init__(self, world: World, settings: Settings, record: Record, snapshot: Snapshot) -> None:
        self.world = world
        self.settings = settings
        self.record = record
        self.snapshot = snapshot
        """What was seen before anything was done."""
        self.batch: list[str] = []
        """The hosts whose turn it is."""
        self.share = 0
        """The part of its weight, in percent, that the batch has in traffic."""
        self.changed = False
        self.defect = ""
        """The traceback of an exception that nobody expected."""

    # ------------------------------------------------------------------------------------------------------- the record

    def event(self, text: str) -> None:
        """Note what happens, and show it."""
        self.record.event(self.world.now(), text)
        self.world.tell(text)

    def save(self) -> None:
        """Write the record."""
        self.record.updated_at = self.world.now()
        self.world.save(self.record)

    def close(self) -> None:
        """Write the final record and let go of the lock."""
        self.record.ended_at = self.record.updated_at = self.world.now()
        self.world.close(self.record)

    def check_store(self) -> None:
        """Raise what is known of the lock or of a write that rode along."""
        error = self.world.store_error()
        if error is not None:
            raise error

    # ------------------------------------------------------------------------------------------------- a person's flags

    def promoted(self) -> bool:
        """Whether a person wants to go on without waiting; looks at the lock, obeys pause and abort on the way."""
        self.check_store()
        if self._obey() != "promote":
            return False
        self.used_up()
        return True

    def checkpoint(self) -> None:
        """Look at the lock and obey a person's flag where there is nothing to be promoted past."""
        self.check_store()
        if self._obey() == "promote":
            self.event("promote came while nothing was waited for that it could end, and is used up")
            self.used_up()

    def used_up(self) -> None:
        """Forget a flag that was obeyed; a store that is silent now hears of it when the rollout ends."""
        if self.world.control is not None:
            try:
                self.world.clear_control()
            except StoreLost as trouble:
                self.event(f"the flag could not be cleared: {trouble}")

    def _obey(self) -> str:
        """Obey the flag that a person has set: abort goes back, pause waits, promote is told to the caller."""
        control = self.world.control
        if control is None or self.record.direction == state.BACK:
            return ""
        said = f"by {control.by or 'a person'}{': ' + control.note if control.note else ''}"
        if control.flag == "abort":
            raise Aborted("aborted", said)
        if control.flag == "pause":
            return self.pause(said)
        if control.flag == "resume":
            # It came for a pause that has ended.
            self.used_up()
            return ""
        return control.flag

    def pause(self, why: str) -> str:
        """Wait until a person resumes, promotes or aborts."""
        record = self.record
        record.status = state.PAUSED
        self.event(f"paused {why}")
        begin = self.world.clock()
        told = self._flag() == "pause"
        while True:
            self.save()
            self.check_store()
            flag = self._flag()
            # A pause that a gate asked for ends with a person's word; one that a person set ends when it is taken back.
            if flag in ("abort", "promote", "resume") or (told and flag != "pause"):
                break
            told = told or flag == "pause"
            if self.world.clock() - begin > self.settings.pause_timeout:
                raise Halt(f"paused for {self.settings.pause_timeout:g} s and nobody went on")
            self.world.sleep(CONTROL_POLL)
        record.status = state.RUNNING
        if flag == "resume":
            self.used_up()
            flag = ""
        self.event("goes on" if flag != "abort" else "the pause ends")
        return self._obey() if flag == "abort" else flag

    def _flag(self) -> str:
        return self.world.control.flag if self.world.control else ""
