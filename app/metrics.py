"""What is counted for Prometheus. A registry of its own: no global state."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


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
        self.queue = Gauge("cellgate_model_queue", "Items that wait.", ["model", "version"], registry=self.registry)
        self.items = Gauge(
            "cellgate_model_requests", "Requests to a loaded version.", ["model", "version"], registry=self.registry
        )
        self.batches = Gauge("cellgate_model_batches", "Forward passes.", ["model", "version"], registry=self.registry)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
