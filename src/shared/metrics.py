"""Prometheus metrics of a process; requests are counted by route pattern, so the number of series is bounded."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EVENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The series that `/metrics` shows."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._requests = Histogram(
            "http_request_duration_seconds",
            "Time to answer a request",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._request_series: dict[tuple[str, str, int], Histogram] = {}
        self.events = Counter("events_total", "Events by what became of them", ("queue", "outcome"), registry=registry)
        self.batch_events = Histogram(
            "event_batch_events", "Events applied together", ("queue",), buckets=_EVENTS, registry=registry
        )
        self.batch_seconds = Histogram(
            "event_batch_duration_seconds", "Time to apply a batch", ("queue",), buckets=_SECONDS, registry=registry
        )
        self.published = Counter("events_published_total", "Events that the broker confirmed", registry=registry)
        self.outbox = Gauge("outbox_rows", "Events that wait to be published, at most", registry=registry)
        self.outbox_age = Gauge("outbox_oldest_seconds", "Age of the event that waits longest", registry=registry)
        self.cache = Counter("cache_reads_total", "Cache reads by outcome", ("outcome",), registry=registry)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        key = (method, route, status)
        series = self._request_series.get(key)
        if series is None:
            series = self._request_series[key] = self._requests.labels(method, route, str(status))
        series.observe(seconds)

    def exposition(self) -> bytes:
        """The text format: https://prometheus.io/docs/instrumenting/exposition_formats/."""
        return generate_latest(self._registry)


# One per process, like the default registry of prometheus_client.
METRICS = Metrics()
