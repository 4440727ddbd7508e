# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands on the host where this runs. No Ansible in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Run = Callable[[Sequence[str]], "tuple[int, str, str]"]
"""Runs a command; gives its exit status, output and errors."""
