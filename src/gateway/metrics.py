"""The gateway's own metrics: retries, refusals, load and breakers of its services."""

from functools import partial

from prometheus_client import Counter, Gauge

from gateway.upstream.breaker import Breaker, State

RETRIES = Counter("gateway_retries_total", "Requests sent a second time", ("upstream",))
REFUSED = Counter("gateway_refused_total", "Requests refused here", ("reason",))
for _reason in ("waiting", "breaker", "overload", "rate_limit", "bodies"):
    REFUSED.labels(_reason)  # 0 from the start
IN_FLIGHT = Gauge("gateway_in_flight", "Requests at the service", ("upstream",))
QUEUED = Gauge("gateway_queued", "Requests that wait for a slot", ("upstream",))
LIMIT = Gauge("gateway_concurrency_limit", "Requests that may be there", ("upstream",))
# An address is labelled with its position in the settings, so that no host name is published.
_BREAKER = Gauge(
    "gateway_breaker_state",
    "1 for the state that the breaker of an address is in",
    ("upstream", "address", "state"),
)


def watch_breaker(upstream: str, address: int, breaker: Breaker) -> None:
    """The state is read when Prometheus asks, so that it costs a request nothing."""
    for state in State:
        _BREAKER.labels(upstream, str(address), state.value).set_function(partial(_is_in, breaker, state))


def _is_in(breaker: Breaker, state: State) -> float:
    return float(breaker.state is state)
