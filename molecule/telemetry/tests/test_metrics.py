"""Every part of the estate is measured, rules are judged, and a bad configuration never becomes active."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import estate
import pytest
import telemetry

WITHOUT_ARCHIVES = {"alertmanager", "check", "etcd", "haproxy", "mes", "node", "patroni", "postgres", "prometheus"}


@pytest.fixture(scope="module", autouse=True)
def traffic() -> None:
    """What is measured must have happened since the services last started."""
    for _ in range(4):
        telemetry.place_order("metrics")


def targets() -> list[dict[str, object]]:
    found: list[dict[str, object]] = telemetry.ask("targets?state=active")["activeTargets"]
    return found


def test_every_target_is_up() -> None:
    def bad() -> list[object]:
        return [(one["scrapeUrl"], one["lastError"]) for one in targets() if one["health"] != "up"]

    estate.wait_for(lambda: not bad(), timeout=90, what=f"every target to be up: {bad()}")
    jobs = {one["labels"]["job"] for one in targets()}  # type: ignore[index]
    assert jobs == WITHOUT_ARCHIVES | (set(telemetry.ARCHIVES) - set(telemetry.MISSING))
    instances = {one["labels"]["instance"] for one in targets() if one["labels"]["job"] != "check"}  # type: ignore[index]
    assert instances == {host for hosts in estate.inventory().values() for host in hosts}


@pytest.mark.parametrize(
    "expression",
    [
        "node_filesystem_avail_bytes",
        'node_systemd_unit_state{name="haproxy.service",state="active"} == 1',
        "haproxy_backend_http_responses_total",
        "patroni_primary == 1",
        "pg_stat_activity_count",
        "etcd_server_has_leader == 1",
        "mes_orders_oldest_timestamp_seconds",
        'http_request_duration_seconds_count{route="/orders"}',
        "service:requests:rate5m",
    ],
)
def test_what_dashboards_and_alerts_use_arrives(expression: str) -> None:
    estate.wait_for(lambda: telemetry.query(expression), timeout=90, what=expression)


def test_every_alert_rule_has_been_seen_firing_and_silent() -> None:
    """`promtool test rules` of the Prometheus that runs, on the rules that run."""
    estate.on(
        telemetry.OBS,
        "rm -rf /srv/rules && mkdir -p /srv/rules/roles/prometheus/files /srv/rules/tests /srv/rules/demo",
    )
    for directory in ("roles/prometheus/files/rules", "tests/rules", "demo/rules"):
        estate.docker("cp", str(estate.ROOT / directory), f"{telemetry.OBS}:/srv/rules/{directory}")
    output = estate.on(telemetry.OBS, "cd /srv/rules/tests/rules && promtool test rules *.test.yml 2>&1")
    assert output.count("SUCCESS") == len(list((estate.ROOT / "tests/rules").glob("*.test.yml"))), output


def test_rules_are_judged_without_failure() -> None:
    groups = telemetry.ask("rules")["groups"]
    assert len(groups) >= 5
    unhealthy = [
        (rule["name"], rule["lastError"]) for group in groups for rule in group["rules"] if rule["health"] == "err"
    ]
    assert unhealthy == []


def test_a_bad_configuration_is_refused_in_the_products_own_words() -> None:
    before = estate.on(telemetry.OBS, "md5sum /etc/prometheus/*.yml; systemctl show prometheus -P MainPID")
    bad = {"prometheus_extra_config": {"remote_write": [{"url": "http://x", "no_such_key": 1}]}}
    recap = telemetry.playbook("--tags", "prometheus", check=False, **bad)
    assert recap.status != 0
    assert "field no_such_key not found" in recap.output
    assert estate.on(telemetry.OBS, "md5sum /etc/prometheus/*.yml; systemctl show prometheus -P MainPID") == before
    assert telemetry.query("up")


def test_a_changed_rule_is_a_reload_and_a_changed_argument_a_restart() -> None:
    pid = estate.on(telemetry.OBS, "systemctl show prometheus -P MainPID")
    telemetry.playbook("--tags", "prometheus", prometheus_scrape_interval="7s")
    assert "scrape_interval: 7s" in telemetry.ask("status/config")["yaml"]
    assert estate.on(telemetry.OBS, "systemctl show prometheus -P MainPID") == pid
    telemetry.playbook("--tags", "prometheus", prometheus_retention_time="20d")
    assert telemetry.ask("status/flags")["storage.tsdb.retention.time"] == "20d"
    assert estate.on(telemetry.OBS, "systemctl show prometheus -P MainPID") != pid
    telemetry.playbook("--tags", "prometheus")
    assert telemetry.ask("status/flags")["storage.tsdb.retention.time"] == "30d"
    assert telemetry.playbook("--tags", "prometheus").changed() == {}


def test_samples_survive_a_restart() -> None:
    oldest = 'min_over_time(timestamp(up{job="prometheus"})[1h:15s])'
    before = telemetry.query(oldest)[0]["value"][1]
    estate.on(telemetry.OBS, "systemctl restart prometheus")
    estate.wait_for(lambda: estate.get(f"{telemetry.PROMETHEUS}/-/ready")[0] == 200, timeout=60, what="Prometheus")
    assert float(telemetry.query(oldest)[0]["value"][1]) <= float(before) + 15


def test_nothing_is_readable_or_reachable_by_others() -> None:
    for host, paths in (
        (telemetry.OBS, "/etc/prometheus/web.yml /etc/prometheus/prometheus.yml /etc/prometheus/alertmanager.yml"),
        ("pg-1", "/etc/default/prometheus-postgres-exporter"),
    ):
        assert set(estate.on(host, f"stat -c %a:%U {paths}").split()) == {"640:root"}
    listening = estate.on(
        telemetry.OBS, "ss -Hltn '( sport = :9090 or sport = :9093 or sport = :9094 or sport = :9100 )'"
    )
    assert sorted(line.split()[3] for line in listening.splitlines()) == [
        f"{telemetry.ADDRESS}:{port}" for port in (9090, 9093, 9100)
    ]


def drill_rule() -> Path:
    """A rule that always fires; the file it stands in."""
    path = estate.BUILD / "drill-rules.yml"
    rule = {
        "alert": "Drill",
        "expr": "vector(1)",
        "labels": {"severity": "none"},
        "annotations": {"summary": "A drill."},
    }
    path.write_text(json.dumps({"groups": [{"name": "drill", "rules": [rule]}]}), encoding="utf-8")
    return path


def test_a_password_and_tls_where_they_are_wanted() -> None:
    # The hash of "drill-password".
    users = {"drill": "$2b$10$abcdefghijklmnopqrstuu70apwD7j.9Az7zKtULDMkM/LJz63otO"}
    pair = {"cert_file": "/etc/prometheus/drill.crt", "key_file": "/etc/prometheus/drill.key"}
    estate.on(
        telemetry.OBS,
        f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=drill -days 2 -keyout {pair['key_file']} "
        f"-out {pair['cert_file']} 2>/dev/null && chown prometheus {pair['key_file']}",
    )
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    word = base64.b64encode(b"drill:drill-password").decode()

    def answer(port: int, path: str, **headers: str) -> Any:
        request = urllib.request.Request(f"https://{telemetry.ADDRESS}:{port}{path}", headers=headers)
        with urllib.request.urlopen(request, context=trusting, timeout=10) as reply:
            return json.loads(reply.read())

    parts = ("--tags", "prometheus,alertmanager")
    wanted: dict[str, Any] = {
        **{f"{name}_users": users for name in ("prometheus", "alertmanager")},
        **{f"{name}_tls": pair for name in ("prometheus", "alertmanager")},
    }
    client = {
        "scheme": "https",
        "tls_config": {"insecure_skip_verify": True},
        "basic_auth": {"username": "drill", "password": "drill-password"},
    }
    try:
        refused = telemetry.playbook(*parts, check=False, **wanted)
        assert "give prometheus_alertmanager_client a basic_auth" in refused.output.replace("\n", " ")
        telemetry.playbook(
            *parts, **wanted, prometheus_alertmanager_client=client, prometheus_extra_rules=[str(drill_rule())]
        )
        for port, path in ((9090, "/api/v1/query?query=up"), (9093, "/api/v2/alerts")):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                answer(port, path)
        header = {"Authorization": f"Basic {word}"}

        def prometheus_answers() -> bool:
            try:
                return bool(answer(9090, "/api/v1/query?query=up", **header)["status"] == "success")
            except urllib.error.HTTPError as error:
                # It asks for the password before it is ready.
                if error.code != 503:
                    raise
                return False

        estate.wait_for(prometheus_answers, timeout=90, what="Prometheus to take the password")
        estate.wait_for(
            lambda: "Drill" in {one["labels"]["alertname"] for one in answer(9093, "/api/v2/alerts", **header)},
            timeout=90,
            what="an alert to pass from one to the other",
        )
        log = (estate.BUILD / "telemetry-site.log").read_text(encoding="utf-8")
        assert [word for word in ("$2b$10$", "drill-password") if word in log] == [], "a secret in a diff"
    finally:
        telemetry.playbook(*parts)
    assert telemetry.query("up")
