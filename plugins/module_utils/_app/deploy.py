# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of app_release on a host: read, plan, judge, apply, restart."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import asdict
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._app.options import (
    given_configuration,
    ready_of,
    request_of,
    store_of,
)
from ansible_collections.mesops.platform.plugins.module_utils._app.serving import serve
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.names import check_service
from ansible_collections.mesops.platform.plugins.module_utils._core.quiet_module import QuietModule
from ansible_collections.mesops.platform.plugins.module_utils._core.urls import is_url
from ansible_collections.mesops.platform.plugins.module_utils._record.fencing import Fence
from ansible_collections.mesops.platform.plugins.module_utils._release.admission import MIB, judge
from ansible_collections.mesops.platform.plugins.module_utils._release.artifacts import shown
from ansible_collections.mesops.platform.plugins.module_utils._release.commands import (
    check_installed_command,
    program_of,
)
from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import Difference, difference
from ansible_collections.mesops.platform.plugins.module_utils._release.manifests import manifest_of
from ansible_collections.mesops.platform.plugins.module_utils._release.marks import utc_now
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import parted
from ansible_collections.mesops.platform.plugins.module_utils._release.plans import Plan, make_plan
from ansible_collections.mesops.platform.plugins.module_utils._release.releases import Store

LOCK_SECONDS = 300
FETCH_TIMEOUT = 30


def run(module: QuietModule) -> dict[str, Any]:
    """One run: read, plan, judge, apply, restart. The lock is not held while a unit is waited for."""
    params = module.params
    check_service(params["service"])
    word = program_of(params["command"]) if params["command"] is not None else None
    store = store_of(module)
    ready_of(params)
    fence = Fence.of(params["service"], params)
    fence.claim(write=not module.check_mode)
    if module.check_mode or params["state"] == "read":
        result, plan = _change(module, word, store)
    else:
        with store.locked(LOCK_SECONDS, time.monotonic, time.sleep):
            # Whoever had the lock may have been the next run.
            fence.check()
            result, plan = _change(module, word, store)
    if plan is not None and params["unit"] and plan.after.current is not None:
        serve(module, params["state"] in ("active", "rolled_back"), store, plan, result, fence=fence)
    return result


def _change(module: QuietModule, word: str | None, store: Store) -> tuple[dict[str, Any], Plan | None]:
    """Change the releases on disk; no plan when the artifact has to be brought first."""
    params = module.params
    request, given = request_of(params, store), given_configuration(params)
    differs = difference(store.shelf.active(), given) if given is not None else None
    plan = make_plan(store.read(), request, store.base, utc_now())
    artifact, tree = params["artifact"], None
    manifest: dict[str, Any] = {}
    if plan.install is not None:
        if not is_url(artifact) and not params["remote_src"]:
            return {"changed": True, "artifact_needed": True}, None
        path = fetch(module, artifact) if is_url(artifact) else artifact
        tree, manifest = judge(path, params, word, store.base)
        artifact = path
    elif word is not None and request.version is not None and plan.before.find(request.version) is not None:
        check_installed_command(store.path(request.version), request.version, word)
    if not module.check_mode:
        store.apply(plan, artifact, tree, given)
    result: dict[str, Any] = {
        "changed": plan.changed,
        "current": plan.after.current,
        "previous": plan.after.previous,
        "releases": [asdict(one) for one in plan.after.releases],
        "artifact_needed": False,
        "configuration": {
            **_configurations(store, plan, request.configuration),
            **asdict(differs or Difference()),
        },
        "actions": list(plan.actions),
        "diff": {"before": plan.before.view(), "after": plan.after.view()},
    }
    if params["version"]:
        result["manifest"] = manifest if plan.install is not None else manifest_of(store.path(params["version"]))
    return result, plan


def _configurations(store: Store, plan: Plan, wanted: str) -> dict[str, Any]:
    """Digests; while none are kept, and so in a dry run before the first, there are none that mean anything later."""
    kept = store.shelf.kept
    return {
        "kept": kept,
        "current": plan.after.configuration if kept else "",
        "previous": parted(plan.after.previous_name or "")[1],
        "running": "",
        "wanted": wanted if kept else "",
    }


def fetch(module: QuietModule, url: str) -> str:
    """Bring a URL's content to a temporary file."""
    # Its imports take 20 ms, which every other run is spared.
    from ansible_collections.mesops.platform.plugins.module_utils._core import http_download  # noqa: PLC0415

    limit = module.params["max_size_mb"] * MIB
    try:
        descriptor, path = tempfile.mkstemp(dir=module.tmpdir, prefix="artifact-")
        module.add_cleanup_file(path)
        with os.fdopen(descriptor, "wb") as handle:
            http_download.download(url, handle, limit, FETCH_TIMEOUT)
    except http_download.TooBig as error:
        raise Refused(f"artifact {shown(url)} is bigger than max_size_mb ({limit // MIB} MiB)") from error
    except (OSError, ValueError) as error:
        raise Refused(f"artifact {shown(url)} cannot be fetched: {error}") from error
    return path
