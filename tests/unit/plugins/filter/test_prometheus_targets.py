# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus scrapes follows from the inventory, and mistakes in it are one sentence each."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mesops.platform.plugins.filter.prometheus_targets import prometheus_targets

HOSTVARS: dict[str, dict[str, Any]] = {
    "a": {"mesops_address": "10.0.0.1"},
    "b": {"ansible_host": "b.example"},
    "c": {},
}


def test_every_host_is_called_by_its_name_and_reached_by_its_address() -> None:
    found = prometheus_targets({"node": {"hosts": ["a", "b", "c"], "port": 9100}}, {}, {}, HOSTVARS)
    assert found == [
        {
            "job_name": "node",
            "static_configs": [
                {"targets": ["10.0.0.1:9100"], "labels": {"instance": "a"}},
                {"targets": ["b.example:9100"], "labels": {"instance": "b"}},
                {"targets": ["c:9100"], "labels": {"instance": "c"}},
            ],
        }
    ]


def test_services_become_jobs_of_their_name() -> None:
    services = {
        "catalog": {"port": 3000},
        "other": {"port": 4000, "group": "catalog", "metrics_path": "/prometheus"},
        "silent": {"port": 5000, "group": "catalog", "metrics_path": ""},
    }
    found = prometheus_targets({}, services, {"catalog": ["a"]}, HOSTVARS)
    assert [(one["job_name"], one.get("metrics_path")) for one in found] == [
        ("catalog", None),
        ("other", "/prometheus"),
    ]
    assert found[0]["static_configs"] == [
        {"targets": ["10.0.0.1:3000"], "labels": {"instance": "a", "service": "catalog"}}
    ]


def test_a_job_takes_the_place_of_a_service_of_its_name() -> None:
    job = {
        "catalog": {"hosts": ["b"], "port": 1, "scheme": "https", "interval": "5s", "config": {"honor_labels": True}}
    }
    (found,) = prometheus_targets(job, {"catalog": {"port": 3000}}, {"catalog": ["a"]}, HOSTVARS)
    assert found["scheme"] == "https"
    assert found["scrape_interval"] == "5s"
    assert found["honor_labels"] is True
    assert found["static_configs"][0]["targets"] == ["b.example:1"]


def test_jobs_without_hosts_and_what_was_skipped_are_no_targets() -> None:
    hostvars = {"a": {"mesops_skipped": {"tail": "no archive"}}, "b": {}}
    jobs = {"none": {"hosts": [], "port": 1}, "tail": {"hosts": ["a", "b"], "port": 2}}
    assert [one["labels"]["instance"] for one in prometheus_targets(jobs, {}, {}, hostvars)[0]["static_configs"]] == [
        "b"
    ]
    assert prometheus_targets({"tail": {"hosts": ["a"], "port": 2}}, {}, {}, hostvars) == []


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        ("text", "prometheus_jobs.x is no mapping; give it hosts and port."),
        ({"hosts": ["a"], "port": 1, "pot": 2}, "prometheus_jobs.x has unknown keys pot; known are hosts, port, path,"),
        ({"hosts": ["a"]}, "prometheus_jobs.x.port is None; give a TCP port from 1 to 65535."),
        ({"hosts": ["a"], "port": True}, "prometheus_jobs.x.port is True; give a TCP port"),
        ({"hosts": ["a"], "port": 65536}, "prometheus_jobs.x.port is 65536; give a TCP port"),
        ({"hosts": "a", "port": 1}, "prometheus_jobs.x.hosts is 'a'; give a list of inventory names."),
        ({"hosts": ["z"], "port": 1}, "prometheus_jobs.x.hosts names 'z', which the inventory does not have;"),
    ],
)
def test_mistakes_are_one_sentence(job: Any, sentence: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        prometheus_targets({"x": job}, {}, {}, HOSTVARS)
    assert str(caught.value).startswith(sentence)


def test_the_order_of_the_inventory_is_no_difference() -> None:
    hostvars = {name: {"mesops_address": f"10.0.0.{number}"} for number, name in enumerate(("b", "a", "c"))}
    one, other = ({"node": {"hosts": list(order), "port": 9100}} for order in ("bac", "cba"))
    assert prometheus_targets(one, {}, {}, hostvars) == prometheus_targets(other, {}, {}, hostvars)


def test_a_check_asks_the_prober_and_is_called_by_what_it_asks() -> None:
    checks = {"order": {"urls": ["http://lb-1/orders"], "interval": "30s", "method": "POST"}}
    (found,) = prometheus_targets({}, {}, {}, {}, checks=checks, prober="10.0.0.9:9115")
    assert found["scrape_interval"] == "30s"
    assert found["params"] == {"module": ["order"]}
    (static,) = found["static_configs"]
    assert static == {"targets": ["http://lb-1/orders"], "labels": {"job": "check", "check": "order"}}
    assert [rule["target_label"] for rule in found["relabel_configs"]] == ["__param_target", "instance", "__address__"]
    assert found["relabel_configs"][2]["replacement"] == "10.0.0.9:9115"
    wrong: tuple[Any, ...] = ({"urls": []}, {}, "http://lb-1")
    for nothing in wrong:
        with pytest.raises(AnsibleFilterError, match=r"mesops_checks\.order has no urls; give a list"):
            prometheus_targets({}, {}, {}, {}, checks={"order": nothing})


def test_a_port_may_differ_from_host_to_host() -> None:
    (found,) = prometheus_targets({"node": {"port": {"b": 2, "a": 1}}}, {}, {}, HOSTVARS)
    assert [one["targets"] for one in found["static_configs"]] == [["10.0.0.1:1"], ["b.example:2"]]
    assert prometheus_targets({"node": {"port": {}}}, {}, {}, HOSTVARS) == []
    (fewer,) = prometheus_targets({"node": {"hosts": ["b"], "port": {"b": 2, "a": 1}}}, {}, {}, HOSTVARS)
    assert [one["targets"] for one in fewer["static_configs"]] == [["b.example:2"]]
    with pytest.raises(AnsibleFilterError, match=r"^prometheus_jobs.node.port.c is None; give a TCP port"):
        prometheus_targets({"node": {"hosts": ["c"], "port": {"a": 1}}}, {}, {}, HOSTVARS)


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    (found,) = prometheus_targets({"node": {"hosts": ["a"], "port": 1}}, {}, {}, {"a": {"mesops_address": "fd00::1"}})
    assert found["static_configs"][0]["targets"] == ["[fd00::1]:1"]
