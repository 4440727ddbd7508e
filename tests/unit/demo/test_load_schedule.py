from __future__ import annotations

from collections import Counter

import pytest

from demo.load.config import ConfigError, LoadConfig
from demo.load.schedule import plan

TARGETS = ("http://10.0.0.1", "http://10.0.0.2:8080")


def test_steady_rate() -> None:
    requests = list(plan(50, 0, 2, duration=2))
    assert len(requests) == 100
    assert [request.at for request in requests[:3]] == [0, 0.02, 0.04]
    assert max(request.at for request in requests) < 2


@pytest.mark.parametrize("reads", [0, 0.1, 0.3, 0.5, 0.9])
def test_mix_is_even_and_every_kind_goes_round_all_targets(reads: float) -> None:
    requests = list(plan(10, reads, 2, count=1000))
    kinds = Counter(request.kind for request in requests)
    assert kinds["list"] + kinds["get"] == round(1000 * reads)
    assert abs(kinds["list"] - kinds["get"]) <= 1
    for kind in kinds:
        served = Counter(request.target for request in requests if request.kind == kind)
        assert served[0] - served[1] in (0, 1)
    first, second = Counter(r.method for r in requests[:500]), Counter(r.method for r in requests[500:])
    assert abs(first["GET"] - second["GET"]) <= 1


def test_orders_counts_orders_and_reads_come_on_top() -> None:
    requests = list(plan(10, 0.5, 3, orders=40))
    assert sum(request.method == "POST" for request in requests) == 40
    assert len(requests) in (79, 80)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"targets": ()}, "target"),
        ({"targets": ("10.0.0.1",)}, "10.0.0.1"),
        ({"targets": ("http://10.0.0.1/orders",)}, "/orders"),
        ({"orders": None}, "exactly one"),
        ({"count": 5}, "exactly one"),
        ({"rate": 0}, "Rate"),
        ({"reads": 1.5}, "Reads"),
        ({"reads": 1}, "Reads"),
        ({"retry": "always"}, "always"),
        ({"timeout": 0}, "timeout"),
        ({"orders": -1}, "orders"),
    ],
)
def test_bad_options(options: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        LoadConfig(**{"targets": TARGETS, "orders": 5, **options})  # type: ignore[arg-type]


def test_configuration_survives_the_command_line() -> None:
    from demo.load.__main__ import _parser  # noqa: PLC0415

    config = LoadConfig(targets=TARGETS, duration=9.5, reads=0.25, retry="safe", host="mes.example", ledger="/x y")
    options = vars(_parser().parse_args(["run", *config.to_arguments()]))
    assert tuple(options["target"]) == TARGETS
    for name, value in vars(config).items():
        if name != "targets":
            assert options[name] == value, name
