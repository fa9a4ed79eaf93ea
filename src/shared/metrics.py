"""Prometheus metrics of a process; requests are counted by route pattern, so the number of series is bounded."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

REQUESTS = Histogram(
    "http_request_duration_seconds", "Time to answer a request", ("method", "route", "status"), buckets=_SECONDS
)
EVENTS = Counter("events_total", "Events by what became of them", ("queue", "outcome"))
EVENTS_ASIDE = Gauge("events_set_aside", "Events that wait for a lock, or have failed and are tried again", ("queue",))
BATCH_EVENTS = Histogram("event_batch_events", "Events applied together", ("queue",), buckets=_BATCHES)
BATCH_SECONDS = Histogram("event_batch_duration_seconds", "Time to apply a batch", ("queue",), buckets=_SECONDS)
PUBLISHED = Counter("events_published_total", "Events that the broker confirmed")
OUTBOX = Gauge("outbox_rows", "Events that wait to be published, at most")
PARKED = Gauge("outbox_parked_rows", "Events that could not be published and wait for an operator")
OUTBOX_AGE = Gauge("outbox_oldest_seconds", "Age of the event that waits longest")
CACHE = Counter("cache_reads_total", "Cache reads by outcome", ("outcome",))
LOG_LINES_LOST = Counter("log_lines_lost_total", "Log lines dropped because stdout did not take those before them")

_requests = cache(REQUESTS.labels)  # which are slower to look up


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    _requests(method, route, status).observe(seconds)


def exposition() -> bytes:
    """The text format: https://prometheus.io/docs/instrumenting/exposition_formats/."""
    return generate_latest()
