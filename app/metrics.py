"""What is counted for Prometheus. A registry of its own: no global state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

LABELS = ("model", "version")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a version in memory has done since it was loaded."""

    labels: tuple[str, str]
    queue: int
    requests: int
    items: int
    batches: int
    inline: int
    refused: int
    late: int
    waited: float
    forward: float
    steps: int
    padded: int
    sizes: Sequence[tuple[str, int]]
    """Upper ends of the classes of batches, and how many batches each has."""


GAUGES = (
    ("queue", "Items that wait.", "queue"),
    ("requests", "Requests to a loaded version.", "requests"),
    ("batches", "Forward passes.", "batches"),
)
COUNTERS = (
    ("items", "Items answered.", "items"),
    ("inline_batches", "Forward passes that no queue came before.", "inline"),
    ("refused", "Requests that the queue could not hold.", "refused"),
    ("late", "Requests whose deadline passed.", "late"),
    ("wait_seconds", "Seconds in the queue, over all items.", "waited"),
    ("forward_seconds", "Seconds in forward passes.", "forward"),
    ("steps", "Time steps of all items.", "steps"),
    ("padded_steps", "Time steps of all batches, padding included.", "padded"),
)
"""Name, meaning, and the field of `Figures`."""


class Versions(Collector):
    """The versions in memory as they were last told: what is gone is not shown for ever."""

    def __init__(self) -> None:
        self.told: Sequence[Figures] = ()

    def collect(self) -> Iterable[Metric]:
        """One family for each figure, one line for each version."""
        for name, text, figure in GAUGES:
            gauge = GaugeMetricFamily(f"cellgate_model_{name}", text, labels=LABELS)
            for each in self.told:
                gauge.add_metric(each.labels, getattr(each, figure))
            yield gauge
        for name, text, figure in COUNTERS:
            counter = CounterMetricFamily(f"cellgate_model_{name}", text, labels=LABELS)
            for each in self.told:
                counter.add_metric(each.labels, getattr(each, figure))
            yield counter
        sizes = HistogramMetricFamily("cellgate_model_batch_items", "Items of a forward pass.", labels=LABELS)
        for each in self.told:
            sizes.add_metric(each.labels, _cumulative(each.sizes), each.items)
        yield sizes


def _cumulative(sizes: Sequence[tuple[str, int]]) -> list[tuple[str, float]]:
    total, found = 0, []
    for most, count in sizes:
        total += count
        found.append((most, float(total)))
    return [*found, ("+Inf", float(total))]


class Metrics:
    """The service's counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "cellgate_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "cellgate_request_seconds",
            "Time to answer.",
            ["route"],
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.jobs = Gauge("cellgate_jobs", "Jobs by state.", ["state"], registry=self.registry)
        self.sessions = Gauge("cellgate_sessions", "Streaming sessions.", registry=self.registry)
        self.session_bytes = Gauge(
            "cellgate_session_bytes", "Bytes that the sessions' states take.", registry=self.registry
        )
        self.versions = Versions()
        self.registry.register(self.versions)
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        if key not in self._known:
            self._known[key] = self.requests.labels(*key), self.seconds.labels(route)
        requests, taken = self._known[key]
        requests.inc()
        taken.observe(seconds)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
