"""Metrics of orders, beside those of every process."""

from collections.abc import Iterable

from prometheus_client import Gauge, Histogram

from shared.metrics import exemplar

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)

DECIDED = Histogram("order_decision_seconds", "From the placing to the verdict", ("status",), buckets=_SECONDS)
for _status in ("done", "held", "rejected"):
    DECIDED.labels(_status)  # 0 from the start
OLDEST_PENDING = Gauge("orders_pending_oldest_seconds", "Age of the order that is pending longest")


def observe_decisions(decided: Iterable[tuple[str, float, str]]) -> None:
    """Takes status, age and trace id of orders that were pending until now."""
    for status, age, trace_id in decided:
        DECIDED.labels(status).observe(age, exemplar(age, trace_id))
