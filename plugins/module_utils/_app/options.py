# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options of app_release say: the store, the request, the configuration, and what proves that it serves."""

from __future__ import annotations

import grp
import pwd
from typing import Any

from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._core.names import check_service
from ansible_collections.mesops.platform.plugins.module_utils._core.quiet_module import QuietModule
from ansible_collections.mesops.platform.plugins.module_utils._probe import probes
from ansible_collections.mesops.platform.plugins.module_utils._probe.keys import ProbeError
from ansible_collections.mesops.platform.plugins.module_utils._release.configurations import Configuration
from ansible_collections.mesops.platform.plugins.module_utils._release.naming import (
    DIGEST,
    check_checksum,
    check_version,
    version_of,
)
from ansible_collections.mesops.platform.plugins.module_utils._release.plans import Request
from ansible_collections.mesops.platform.plugins.module_utils._release.releases import Store
from ansible_collections.mesops.platform.plugins.module_utils._release.units import Ready


def given_configuration(params: dict[str, Any]) -> Configuration | None:
    """The configuration whose content was given."""
    given = params["configuration"]
    return Configuration.of(given["environment"], given["unit"]) if given is not None else None


def wanted_digest(params: dict[str, Any], store: Store) -> str:
    """The digest of the configuration that is asked for, or nothing."""
    digest, given = params["configuration_digest"] or "", given_configuration(params)
    if digest and not DIGEST.fullmatch(digest):
        raise Refused(f"configuration_digest {digest[:80]!r} is none; take it from the result of this module")
    found = store.shelf.name(given)
    if not digest or digest in (found, *store.shelf.stored()):
        return digest or found
    if given is None:
        return digest
    raise Refused(
        f"configuration {digest} is not kept on this host, and the one that was given is another; put the inventory "
        "back to what it was, or begin again with what it is now"
    )


def request_of(params: dict[str, Any], store: Store) -> Request:
    """The checked request."""
    check_service(params["service"])
    protected = map(version_of, params["protect"])
    for version in (params["version"], *protected):
        if version is not None:
            check_version(version)
    for option, least in (("keep", 1), ("max_size_mb", 1), ("reserve_mb", 0)):
        if params[option] < least:
            raise Refused(f"{option} {params[option]} is too small; give {least} or more")
    return Request(
        state=params["state"],
        version=params["version"],
        checksum=check_checksum(params["checksum"]) if params["checksum"] else None,
        has_artifact=params["artifact"] is not None,
        keep=params["keep"],
        protect=tuple(params["protect"]),
        initial=params["initial"],
        elsewhere={host: str(version) for host, version in params["elsewhere"].items() if version},
        silent=tuple(params["silent"]),
        configuration=wanted_digest(params, store),
        has_configuration=params["configuration"] is not None,
    )


def _id(module: QuietModule, database: Any, field: str, name: str) -> int:
    """The number of a user or group; a dry run may come before it is created."""
    try:
        return int(getattr(database(name), field))
    except KeyError as error:
        if module.check_mode or module.params["state"] == "read":
            return -1
        raise Refused(f"{field[3:]} {name!r} does not exist on this host; create it first") from error


def store_of(module: QuietModule) -> Store:
    """The store that the options describe."""
    params = module.params
    shared = params["shared_owner"]
    return Store(
        root=params["root"],
        service=params["service"],
        uid=_id(module, pwd.getpwnam, "pw_uid", params["owner"]),
        gid=_id(module, grp.getgrnam, "gr_gid", params["group"]) if params["group"] else 0,
        private=params["group"] is not None,
        shared_ids=(_id(module, pwd.getpwnam, "pw_uid", shared), _id(module, pwd.getpwnam, "pw_gid", shared))
        if shared
        else None,
        owner_gid=_id(module, pwd.getpwnam, "pw_gid", params["owner"]),
    )


def ready_of(params: dict[str, Any]) -> Ready:
    """How it is verified that the release serves, checked."""
    given = params["ready"] or {}
    for kind in ("until", "once"):
        for name, probe in given.get(kind, {}).items():
            try:
                probes.check(probe, f"ready.{kind}.{name}")
            except ProbeError as why:
                raise Refused(str(why).rstrip(".")) from why
    return Ready(**given)
