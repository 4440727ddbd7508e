# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders for the project's own test hosts: load in the background, and what became of each order in the database."""

from __future__ import annotations

import tempfile
from typing import Any

import estate

from demo.load.audit import Audit, compare, fetch
from demo.load.background import BackgroundLoad
from demo.load.config import LoadConfig
from demo.load.ledger import read_ledger


def load(**options: Any) -> BackgroundLoad:
    """Load on both load balancers in a process of its own; see ``demo.load`` for the options."""
    return load_on(tuple(f"http://{address}" for address in estate.addresses("loadbalancers").values()), **options)


def load_on(targets: tuple[str, ...], **options: Any) -> BackgroundLoad:
    """The same on other load balancers."""
    scratch = estate.BUILD / "load"
    scratch.mkdir(parents=True, exist_ok=True)
    directory = tempfile.mkdtemp(dir=scratch)
    return BackgroundLoad(LoadConfig(targets=targets, **options), directory=directory)


def audit(run: BackgroundLoad, *, wait: float = 60, database: str = "") -> Audit:
    """Compare the ledger of a run with the database, that of the demo estate without a connection string."""
    ledger = read_ledger(run.ledger)
    return compare(ledger, fetch(database or estate.conninfo(), ledger.runs, wait))
