"""Prometheus metrics: rate, errors and duration by route template, orders by transition, pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class _Sampler(Collector):
    """Asks for gauges at scrape time."""

    def __init__(self, sample: Callable[[], Iterator[tuple[str, str, dict[str, str], float]]]) -> None:
        self._sample = sample

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, labels, value in self._sample():
            family = families.setdefault(name, GaugeMetricFamily(name, text, labels=list(labels)))
            family.add_metric(list(labels.values()), value)
        yield from families.values()


class Metrics:
    """All metrics of the process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.request_seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the first byte of a request to the last byte of its response.",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("http_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.transitions = Counter(
            "mes_order_transitions",
            "Committed changes of an order's status; creation has no source.",
            ["source", "target"],
            registry=self.registry,
        )
        self.repeats = Counter(
            "mes_order_repeats", "Creations that repeated a key already stored.", registry=self.registry
        )
        self.database_errors = Counter(
            "mes_database_errors", "Requests that the database failed.", ["pool", "outcome"], registry=self.registry
        )
        self.price_seconds = Histogram(
            "mes_price_calculation_seconds",
            "CPU time of a price calculation.",
            buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0),
            registry=self.registry,
        )

    def sample(self, source: Callable[[], Iterator[tuple[str, str, dict[str, str], float]]]) -> None:
        """Register gauges that are read at scrape time: (name, help, labels, value)."""
        self.registry.register(_Sampler(source))

    def render(self, accept: str) -> tuple[bytes, str]:
        """Render for a scraper: OpenMetrics with exemplars where it asks for that."""
        encode, content_type = exposition.choose_encoder(accept)
        return encode(self.registry), content_type
