# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is displayed while a task runs is seen while it runs, also in a pipeline's log."""

from __future__ import annotations

import io
import sys


def show_at_once() -> None:
    """Let each line that is displayed go out by itself, where standard output is a file or a pipe.

    Ansible writes there without flushing, so that a rollout's live view would appear only after its end. Call this
    where an action plugin is loaded: the strategy loads it in the main process, which does the writing for all.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
