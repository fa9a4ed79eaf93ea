"""Prometheus metrics of a process; requests are counted by route pattern, so the number of series is bounded."""

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import cache

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

REQUESTS = Histogram(
    "http_request_duration_seconds", "Time to answer a request", ("method", "route", "status"), buckets=_SECONDS
)
EVENTS = Counter("events_total", "Events by what became of them", ("queue", "outcome"))
EVENTS_ASIDE = Gauge("events_set_aside", "Events that wait for a lock, or have failed and are tried again", ("queue",))
BATCH_EVENTS = Histogram("event_batch_events", "Events applied together", ("queue",), buckets=_BATCHES)
BATCH_SECONDS = Histogram("event_batch_duration_seconds", "Time to apply a batch", ("queue",), buckets=_SECONDS)
REDELIVERED = Counter("messages_redelivered_total", "Messages that were delivered before, and not settled", ("queue",))
# As the consumer of a queue last found them, and those beside it, at the broker.
MESSAGES = Gauge("queue_messages", "Messages that wait in the queue", ("queue",))
CONSUMERS = Gauge("queue_consumers", "Consumers of the queue; 0 while this process has no session", ("queue",))
PUBLISHED = Counter("events_published_total", "Events that the broker confirmed")
OUTBOX = Gauge("outbox_rows", "Events that wait to be published, at most")
PARKED = Gauge("outbox_parked_rows", "Events that could not be published and wait for an operator")
OUTBOX_AGE = Gauge("outbox_oldest_seconds", "Age of the event that waits longest")
CACHE = Counter("cache_reads_total", "Cache reads by outcome", ("outcome",))
CONNECTIONS = Gauge("database_connections", "Connections of the pool: busy, idle", ("state",))
LAG = Histogram("event_loop_lag_seconds", "How much later than asked for a timer runs", buckets=_SECONDS)
SPANS_LOST = Counter("spans_lost_total", "Spans dropped because the collector did not take them, or not soon enough")
LOG_LINES_LOST = Counter("log_lines_lost_total", "Log lines dropped because stdout did not take those before them")

OPEN_METRICS, OPEN_METRICS_TYPE = "application/openmetrics-text", openmetrics.CONTENT_TYPE_LATEST
_in_open_metrics: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest
_TICK = 0.1
_SLOW = 0.1

_requests = cache(REQUESTS.labels)  # which are slower to look up


def observe_request(method: str, route: str, status: int, seconds: float, trace_id: str) -> None:
    _requests(method, route, status).observe(seconds, exemplar(seconds, trace_id))


def exemplar(seconds: float, trace_id: str) -> dict[str, str] | None:
    """The trace id for the bucket: of what is slow, and of one trace in sixteen, the same ones in every process.

    It costs twice what the rest of an observation does.
    """
    return {"trace_id": trace_id} if seconds >= _SLOW or trace_id.endswith("0") else None


def watch(loop: AbstractEventLoop, due: float | None = None) -> None:
    """Measures, ten times a second, how late the loop runs."""
    now = time.monotonic()
    if due is not None:
        LAG.observe(max(0.0, now - due))
    loop.call_later(_TICK, watch, loop, now + _TICK)


def exposition(*, open_metrics: bool = False) -> bytes:
    """The text format, or OpenMetrics, which alone has exemplars.

    https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    return _in_open_metrics(REGISTRY) if open_metrics else generate_latest()
