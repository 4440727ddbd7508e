# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a worker tells what it has loaded."""

from __future__ import annotations

from ansible_collections.mesops.platform.plugins.module_utils._haproxy import configuration
from ansible_collections.mesops.platform.plugins.module_utils._haproxy.configuration import File


def test_digest_covers_what_haproxy_reads() -> None:
    config = "global\n    maxconn 10\n"
    file = File("/a", "x")
    unread = File("/b", "y", loaded=False)
    base = configuration.digest(config, [file])
    assert base == configuration.digest(config, [file, unread])
    assert base != configuration.digest(config, [File("/a", "z")])
    found: str | None = configuration.digest_in(configuration.with_digest(config, base))
    assert found == base
