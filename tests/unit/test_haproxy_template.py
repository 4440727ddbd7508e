# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The template of HAProxy's configuration, byte by byte: what the role writes for inventories that use all of it.

Who changes the template on purpose writes the files and reads the difference:
``PYTHONPATH=.:tools:collections python tests/unit/test_haproxy_template.py``
"""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import estate
import pytest
import yaml

ROLE = estate.ROOT / "roles/haproxy"
GOLDEN = Path(__file__).parent / "haproxy_configurations"
EVERYBODY = {
    "haproxy_stats_user": "stats",
    "haproxy_stats_password": "it's a 'quoted' password",
    "haproxy_apps": {},
    "mesops_address": "10.0.0.1",
}
CATALOG = {"hosts": ["least", "most"], "port": 8080, "check": {"path": "/readyz"}}
DATABASE = {
    "mode": "tcp",
    "servers": [{"name": "pg-1", "address": "10.0.0.31"}, {"name": "pg-2", "address": "fd00::32", "backup": True}],
    "port": 5432,
    "on_marked_down": "shutdown-sessions",
    "check": {"path": "/primary", "port": 8008},
}
CASES: dict[str, dict[str, Any]] = {
    "none": {},
    "least": {
        "haproxy_services": {"catalog": CATALOG},
        "haproxy_frontends": {"edge": {"binds": [{"port": 80}], "service": "catalog"}},
    },
    "most": {
        "haproxy_maxconn": 4000,
        "haproxy_hard_stop_after": "2h",
        "haproxy_max_reloads": 20,
        "haproxy_trace_percent": 5,
        "haproxy_trusted_proxies": ["10.1.0.0/16", "fd00::/8"],
        "haproxy_peers": ["least", "most"],
        "haproxy_peers_port": 10001,
        "haproxy_stats_bind": [{"address": "127.0.0.1", "port": 8404}],
        "haproxy_services": {
            "catalog": {
                **CATALOG,
                "balance": "leastconn",
                "maxconn": 200,
                "check": {"path": "/readyz", "host": "catalog.example.com", "method": "HEAD", "timeout": "3s"},
                "timeouts": {"server": "5m", "queue": "1s"},
                "retry": {"attempts": 2, "methods": ["GET", "PUT"], "on": ["conn-failure", "503"]},
                "tls": {"sni": "catalog.example.com"},
            },
            "billing": {
                "servers": [{"name": "one", "address": "billing.example.com", "port": 443, "weight": 10}],
                "slowstart": "0",
                "check": {"interval": "300ms"},
                "retry": {"methods": [], "on": []},
                "tls": {"verify": "none"},
            },
            "files": {**CATALOG, "check": False, "balance": "source"},
            "database": DATABASE,
            "cache": {"mode": "tcp", "hosts": ["least"], "port": 6379, "slowstart": "5s"},
        },
        "haproxy_frontends": {
            "edge": {
                "binds": [
                    {"port": 80},
                    {
                        "port": 8443,
                        "address": "fd00::1",
                        "tls": {
                            "certificate": ["/etc/ssl/one.pem", "/etc/ssl/two.pem"],
                            "min_version": "TLSv1.3",
                            "strict_sni": True,
                        },
                    },
                ],
                "redirect_https": True,
                "maxconn": 3000,
                "timeouts": {"client": "1m", "http_request": "5s"},
                "routes": [
                    {"host": ["catalog.example.com", "*.catalog.example.com"], "path": "/files", "service": "files"},
                    {"host": "*.example.com", "path": ["/bills", "/invoices/"], "service": "billing"},
                    {"path": "/api", "service": "catalog"},
                    {"host": "catalog.example.com", "service": "catalog"},
                    {"service": "files"},
                ],
            },
            "inside": {
                "binds": [{"port": 443, "tls": {"certificate": "/etc/ssl/one.pem", "alpn": []}}],
                "redirect_https": True,
                "service": "catalog",
            },
            "database": {"mode": "tcp", "binds": [{"port": 5000}], "service": "database", "maxconn": 100},
        },
        "haproxy_extra": {
            "global": "tune.bufsize 32768\n# One more line.",
            "defaults": "option tcp-smart-accept\n",
            "frontends": {"edge": "http-request deny if { path /hidden }", "database": "option tcplog"},
            "services": {"catalog": "option abortonclose", "database": "option tcp-check"},
            "sections": "\nfrontend own\n    bind 127.0.0.1:81\n    http-request return status 200\n\n",
        },
    },
    "own_routes": {
        "haproxy_services": {"catalog": CATALOG, "database": DATABASE},
        "haproxy_frontends": {
            "edge": {"binds": [{"port": 80}], "service": "catalog"},
            "database": {"mode": "tcp", "binds": [{"port": 5000}], "service": "database"},
        },
        "haproxy_extra": {"frontends": {"edge": "use_backend catalog if { path /own }"}},
    },
}


def written(root: Path) -> dict[str, str]:
    """What the role's own task writes for each case; the cases are hosts of one inventory."""
    tasks = yaml.safe_load((ROLE / "tasks/main.yml").read_text(encoding="utf-8"))
    (content,) = (task["mesops.platform.haproxy_config"]["content"] for task in tasks if "throttle" in task)
    asked = content.replace("haproxy.cfg.j2", str(ROLE / "templates/haproxy.cfg.j2"))
    play: Mapping[str, Any] = {
        "hosts": "all",
        "gather_facts": False,
        # The variables of a role that is imported hold for the whole play, whether it does something or not.
        "roles": [{"role": "mesops.platform.haproxy", "when": False}],
        "tasks": [{"ansible.builtin.debug": {"msg": "{{ inventory_hostname }}={{ __written | b64encode }}="}}],
        "vars": {"__written": asked},
    }
    hosts = {name: {**EVERYBODY, **given} for name, given in CASES.items()}
    (root / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}, sort_keys=False), encoding="utf-8")
    (root / "show.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = estate.play(root / "hosts.yml", root / "show.yml")
    found = re.findall(r"msg\W+(\w+)=([\w+/]+=*)=", done.stdout)
    assert {name for name, _text in found} == set(CASES), done.stdout[-3000:]
    return {name: base64.b64decode(text).decode() for name, text in found}


@pytest.fixture(scope="module")
def configurations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return written(tmp_path_factory.mktemp("haproxy"))


@pytest.mark.parametrize("name", CASES)
def test_the_configuration_is_the_one_that_was_read_by_a_person(configurations: dict[str, str], name: str) -> None:
    assert configurations[name] == (GOLDEN / f"{name}.cfg").read_text(encoding="utf-8")


def main() -> None:
    """Write what the role writes now."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in written(Path(root)).items():
            (GOLDEN / f"{name}.cfg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
