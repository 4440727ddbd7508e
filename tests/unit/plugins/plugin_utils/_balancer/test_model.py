# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the haproxy role accepts, and the one sentence with which it refuses the rest."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer import model
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer.services import BALANCES
from ansible_collections.mesops.platform.plugins.plugin_utils._balancer.values import ModelError

HOSTVARS: dict[str, dict[str, Any]] = {
    "app-1": {"mesops_address": "10.0.0.1", "ansible_host": "192.0.2.1"},
    "app-2": {"ansible_host": "10.0.0.2"},
    "app-3": {},
    "app-6": {"mesops_address": "fd00::6"},
}
PEM = "\n".join(f"-----BEGIN {what}-----\nx\n-----END {what}-----" for what in ("CERTIFICATE", "PRIVATE KEY"))
TIMEOUTS = {
    "connect": "2s", "client": "30s", "server": "30s", "queue": "10s", "check": "2s", "tunnel": "1h",
    "http_request": "10s", "http_keep_alive": "60s",
}  # fmt: skip
CATALOG: dict[str, Any] = {"hosts": ["app-1"], "port": 8080, "check": {"path": "/readyz"}}
EDGE: dict[str, Any] = {"binds": [{"port": 80}], "service": "catalog"}


def settings(**changed: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "hard_stop_after": "1d",
        "maxconn": 8000,
        "peers": [],
        "peers_port": 10000,
        "stats_bind": [{"address": "127.0.0.1", "port": 8404}],
        "stats_password": "secret",
        "stats_user": "stats",
        "timeouts": TIMEOUTS,
        "trusted_proxies": [],
    }
    return {**base, **changed}


def build(services: Any = None, frontends: Any = None, extra: Any = None, **changed: Any) -> dict[str, Any]:
    wanted = {"catalog": CATALOG} if services is None else services
    return model.build(wanted, frontends or {}, extra or {}, HOSTVARS, settings(**changed))


def service(**changed: Any) -> dict[str, Any]:
    return dict(build({"catalog": {**CATALOG, **changed}})["services"][0])


def frontend(**changed: Any) -> dict[str, Any]:
    return dict(build(frontends={"edge": {**EDGE, **changed}})["frontends"][0])


def refusal(call: Any) -> str:
    with pytest.raises(ModelError) as caught:
        call()
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def test_addresses_come_from_the_inventory_in_order() -> None:
    found = service(hosts=["app-1", "app-2", "app-3", "app-6"])["servers"]
    assert [one["address"] for one in found] == ["10.0.0.1", "10.0.0.2", "app-3", "[fd00::6]"]


def test_described_servers_keep_their_own_port_weight_and_role() -> None:
    given = {"servers": [{"name": "a", "address": "10.0.0.9", "port": 81, "weight": 5, "backup": True}]}
    assert build({"catalog": given})["services"][0]["servers"] == [
        {"name": "a", "address": "10.0.0.9", "port": 81, "weight": 5, "backup": True}
    ]


def test_a_percentage_of_every_weight_is_a_whole_number() -> None:
    assert [one["weight"] for one in service(hosts=["app-1", "app-2"])["servers"]] == [100, 100]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("1s", "200ms", "500ms")),
        ({"interval": "100ms"}, ("100ms", "100ms", "100ms")),
        ({"interval": "300ms"}, ("300ms", "200ms", "300ms")),
        ({"interval": "10s", "fast_interval": "1s", "down_interval": "2s"}, ("10s", "1s", "2s")),
        ({"interval": "100ms", "down_interval": "2s"}, ("100ms", "100ms", "2s")),
    ],
)
def test_checks_are_faster_while_a_server_changes_its_state(
    given: dict[str, str], expected: tuple[str, str, str]
) -> None:
    check = service(check={"path": "/readyz", **given})["check"]
    assert (check["interval"], check["fast_interval"], check["down_interval"]) == expected


def test_the_timeout_of_a_check_is_that_of_its_backend() -> None:
    assert service(check={"path": "/readyz", "timeout": "7s"})["timeouts"] == {"check": "7s"}
    assert service()["timeouts"] == {}


def test_safe_defaults() -> None:
    found = service()
    assert found["retry"] == {"attempts": 3, "methods": ["GET", "HEAD"], "on": ["conn-failure", "empty-response"]}
    assert (found["balance"], found["slowstart"], found["on_marked_down"]) == ("roundrobin", "10s", None)
    assert found["check"]["interval"] == "1s"


def test_yaml_reads_on_as_true() -> None:
    assert service(retry={True: ["none"]})["retry"]["on"] == ["none"]


def test_tcp_service_may_be_found_by_an_http_check_and_idles_long() -> None:
    given = {"mode": "tcp", "hosts": ["app-1"], "port": 5432, "check": {"port": 8008, "path": "/primary"}}
    built = build(
        {"db": {**given, "on_marked_down": "shutdown-sessions"}},
        {"db": {"mode": "tcp", "binds": [{"port": 5000}], "service": "db"}},
    )
    found = built["services"][0]
    assert (found["check"]["http"], found["check"]["port"]) == (True, 8008)
    assert found["timeouts"]["server"] == "1h"
    assert built["frontends"][0]["timeouts"]["client"] == "1h"
    assert found["retry"] is None


def test_routes_know_hosts_wildcards_and_path_prefixes() -> None:
    routes = [
        {"host": ["A.example.com", "*.b.example.com"], "path": "/api/", "service": "catalog"},
        {"path": "/", "service": "catalog"},
    ]
    edge = build(frontends={"edge": {"binds": [{"port": 80}], "routes": routes}})["frontends"][0]
    assert edge["routes"][0] == {
        "hosts": ["a.example.com"],
        "host_ends": [".b.example.com"],
        "paths": ["/api"],
        "service": "catalog",
    }
    assert edge["routes"][1]["paths"] == []


def test_certificates_become_files_and_paths_stay_paths() -> None:
    tls = {"certificate": [PEM, "/etc/ssl/own.pem"]}
    built = build(frontends={"edge": {**EDGE, "binds": [{"port": 443, "tls": tls}], "redirect_https": True}})
    assert built["files"] == [{"path": "/etc/haproxy/certs/edge-0-0.pem", "content": PEM + "\n", "mode": "0600"}]
    bind = built["frontends"][0]["binds"][0]
    assert bind["tls"]["certificates"] == ["/etc/haproxy/certs/edge-0-0.pem", "/etc/ssl/own.pem"]
    assert built["frontends"][0]["redirect_https_port"] == 443


def test_stats_binds_that_are_the_same_are_one() -> None:
    twice = [{"address": "127.0.0.1", "port": 8404}] * 2
    assert len(build(stats_bind=twice)["stats"]["binds"]) == 1


def test_quotes_are_quoted() -> None:
    assert build(stats_password="a'b $c")["stats"]["password"] == "'a'\\''b $c'"


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"chek": {}}, "haproxy_services.catalog has the unknown key 'chek'; the allowed keys are balance, check"),
        ({"check": {"pth": "/"}}, "haproxy_services.catalog.check has the unknown key 'pth'"),
        ({"check": {"path": "readyz"}}, "give a path that begins with /"),
        (
            {"check": {"fast_interval": 200}},
            "haproxy_services.catalog.check.fast_interval is '200'; give a number",
        ),
        ({"check": {"down_interval": "soon"}}, "check.down_interval is 'soon'"),
        ({"check": {"status": "ok", "path": "/"}}, "200-399"),
        ({"check": {"host": "a"}}, "no path"),
        ({"hosts": []}, "haproxy_services.catalog has no members"),
        ({"hosts": ["app-9"]}, "names the host 'app-9', which is not in the inventory"),
        ({"hosts": ["app-1", "app-1"]}, "two members named 'app-1'"),
        ({"hosts": "app-1"}, "must be a list"),
        ({"servers": []}, "either under 'hosts' or under 'servers'"),
        ({"port": 0}, "give a TCP port from 1 to 65535"),
        ({"port": True}, "give a TCP port from 1 to 65535"),
        ({"slowstart": 10}, "give a number with a unit"),
        ({"slowstart": "10 s"}, "such as 30s"),
        ({"balance": "best"}, "give one of roundrobin"),
        ({"retry": {"methods": ["POST"]}}, "which would execute a request twice"),
        ({"retry": {"on": ["500x"]}}, "give one of none, conn-failure"),
        ({"on_marked_down": "shutdown-sessions"}, "for tcp services only"),
        ({"mode": "tcp", "retry": {}}, "for http services only"),
        ({"mode": "udp"}, "give one of http, tcp"),
        ({"drain": {"deadline": "5m"}}, "is about rollouts of the service; move it to app_services."),
        ({"timeouts": {"server": "25h"}}, "haproxy_hard_stop_after is 1d, shorter than the server timeout 25h"),
        ({"tls": {"verify": "maybe"}}, "give one of required, none"),
    ],
)
def test_refused_services(changed: dict[str, Any], wanted: str) -> None:
    assert wanted in refusal(lambda: service(**changed))


# --------------------------------------------------------------------------------------- what a service says of itself

APP = {
    **{"service": "catalog", "path": "/up", "host": "www.example.com", "status": "200,204"},
    **{"within": 3, "weights": [10, 100]},
}


def asked(check: Any, mode: str = "http", name: str = "catalog") -> tuple[Any, ...]:
    """How a service is checked behind which an app says how it wants to be asked."""
    built = build({name: {"hosts": ["app-1"], "port": 8080, "mode": mode, "check": check}}, apps={"catalog": APP})
    (found,) = built["services"]
    return tuple(found["check"][key] for key in ("path", "host", "status", "timeout"))


@pytest.mark.parametrize("check", [{}, True, {"interval": "500ms"}])
def test_a_check_asks_as_the_service_wants_to_be_asked(check: Any) -> None:
    assert asked(check) == ("/up", "www.example.com", "200,204", "3s")


def test_what_a_check_says_itself_counts() -> None:
    assert asked({"path": "/other", "timeout": "9s"}) == ("/other", "www.example.com", "200,204", "9s")
    assert asked({"host": "h", "status": 200}) == ("/up", "h", "200", "3s")
    assert asked({"path": None}) == (None, None, "200", None)
    assert asked({}, mode="tcp") == (None, None, "200", None)
    assert asked({}, name="basket") == (None, None, "200", None)
    assert build({"catalog": {**CATALOG, "check": False}}, apps={"catalog": APP})["services"][0]["check"] is None


@pytest.mark.parametrize("balance", BALANCES)
def test_shares_of_traffic_need_a_balancing_that_knows_them(balance: str) -> None:
    def with_weights(*weights: int) -> Any:
        services = {"catalog": {**CATALOG, "balance": balance}}
        return build(services, apps={"catalog": {**APP, "weights": list(weights)}})

    assert with_weights(100)
    if balance in ("roundrobin", "leastconn", "random"):
        assert with_weights(10, 100)
    else:
        assert refusal(lambda: with_weights(10, 100)) == (
            f"haproxy_services.catalog.balance is {balance}, which knows no shares of a server's traffic, but "
            "app_services.catalog.rollout.weights is [10, 100]; balance by roundrobin, leastconn, random, or set the "
            "weights to [100]."
        )
    assert service(balance=balance)


@pytest.mark.parametrize(
    ("weight", "weights", "good"),
    [
        (9, [10, 100], False),
        (10, [10, 100], True),
        (0, [50, 100], False),
        (2, [50, 100], True),
        (0, [100], True),
        (99, [1, 100], False),
    ],
)
def test_a_share_of_a_weight_may_not_be_nothing(weight: int, weights: list[int], good: bool) -> None:
    server = {"name": "app-1", "address": "10.0.0.1", "weight": weight}
    services = {"catalog": {"servers": [server], "port": 8080}}
    apps = {"catalog": {**APP, "weights": weights}}
    if good:
        assert build(services, apps=apps)
    else:
        said = refusal(lambda: build(services, apps=apps))
        assert said.startswith(
            f"haproxy_services.catalog server 'app-1' has the weight {weight}, of which {weights[0]} % "
        )


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"binds": []}, "haproxy_frontends.edge has no binds"),
        ({"binds": [{"port": 80, "ssl": True}]}, "haproxy_frontends.edge.binds[0] has the unknown key 'ssl'"),
        ({"binds": [{"address": "*"}]}, "has no port"),
        ({"binds": [{"port": 80}, {"port": 80, "address": "10.0.0.1"}]}, "binds too"),
        (
            {"binds": [{"port": 8404}]},
            "haproxy_stats_bind binds 127.0.0.1:8404, which haproxy_frontends.edge binds too",
        ),
        ({"binds": [{"port": 443, "tls": {}}]}, "has no certificate"),
        ({"binds": [{"port": 443, "tls": {"certificate": ""}}]}, "is empty"),
        ({"binds": [{"port": 443, "tls": {"certificate": "own.pem"}}]}, "neither a PEM text nor an absolute path"),
        (
            {"binds": [{"port": 443, "tls": {"certificate": PEM.split("-----BEGIN P", maxsplit=1)[0]}}]},
            "has no private key",
        ),
        ({"service": "basket"}, "names the service 'basket', which haproxy_services does not have (it has catalog)"),
        ({"mode": "tcp"}, "the two must be the same"),
        ({"routes": []}, "needs either 'routes' or one 'service'"),
        ({"timeouts": {"client": "5"}}, "give a number with a unit"),
        ({"redirect_https": "yes"}, "give true or false"),
    ],
)
def test_refused_frontends(changed: dict[str, Any], wanted: str) -> None:
    assert wanted in refusal(lambda: frontend(**changed))


@pytest.mark.parametrize(
    ("routes", "wanted"),
    [
        ([{"service": "catalog"}, {"host": "a.example", "service": "catalog"}], "routes[0] matches everything"),
        ([{"host": "a.example"}], "routes[0] has no service"),
        ([{"host": "a.example:80", "service": "catalog"}], "host name without port"),
        ([{"path": "api", "service": "catalog"}], "give a path that begins with /"),
        ([{"service": "catalog", "canary": 5}], "unknown key 'canary'; the allowed keys are host, path, service"),
        ([{"path": "/a b", "service": "catalog"}], "one word"),
    ],
)
def test_refused_routes(routes: list[dict[str, Any]], wanted: str) -> None:
    assert wanted in refusal(lambda: build(frontends={"edge": {"binds": [{"port": 80}], "routes": routes}}))


def test_refused_names_settings_and_extras() -> None:
    assert "a name starts with a letter" in refusal(lambda: build({"1 a": CATALOG}))
    assert "the role itself uses" in refusal(lambda: build({"unrouted": CATALOG}))
    assert "haproxy_timeouts lacks queue" in refusal(
        lambda: build(timeouts={key: one for key, one in TIMEOUTS.items() if key != "queue"})
    )
    assert "haproxy_extra.services has the unknown key 'basket'" in refusal(
        lambda: build(extra={"services": {"basket": "x"}})
    )
    assert "line break" in refusal(lambda: build(stats_password="a\nb"))
    assert "haproxy_peers names the host 'lb-9'" in refusal(lambda: build(peers=["lb-9"]))
    assert "haproxy_services must be a mapping" in refusal(lambda: build([]))


def test_a_tcp_session_may_be_idle_after_a_reload_for_as_long_as_before_it() -> None:
    given = {**CATALOG, "mode": "tcp", "timeouts": {"server": "24h"}}
    assert build({"catalog": given}, hard_stop_after="1d")["services"][0]["timeouts"]["server"] == "24h"
    text = refusal(lambda: build({"catalog": given}, hard_stop_after="23h"))
    assert (
        "shorter than the server timeout 24h of haproxy_services.catalog, so a reload would kill its sessions" in text
    )
    # Without its own, it is that of idle tcp connections.
    assert "the server timeout 1h" in refusal(
        lambda: build({"catalog": {**CATALOG, "mode": "tcp"}}, hard_stop_after="35m")
    )


def test_old_workers_hand_requests_over_unless_raw_text_has_routes_of_its_own() -> None:
    assert build()["handover"] == {"frontend": {"client": "30s"}, "backend": {"server": "30s", "tunnel": "1h"}}
    slow = {"binds": [{"port": 81}], "service": "catalog", "timeouts": {"client": "2m"}}
    services = {"catalog": {**CATALOG, "timeouts": {"server": "5m"}}, "db": {**CATALOG, "mode": "tcp"}}
    assert build(services, {"slow": slow})["handover"] == {
        "frontend": {"client": "2m"},
        "backend": {"server": "5m", "tunnel": "1h"},
    }
    harmless = {"frontends": {"edge": "  http-request deny if { path /use_backend }"}}
    assert build(frontends={"edge": EDGE}, extra=harmless)["handover"]
    for extra in (
        {"frontends": {"edge": "use_backend catalog if TRUE"}},
        {"global": "    chroot /var/empty"},
        {"sections": "frontend mine\n    bind *:82\n    default_backend catalog"},
    ):
        assert build(frontends={"edge": EDGE}, extra=extra)["handover"] is None
