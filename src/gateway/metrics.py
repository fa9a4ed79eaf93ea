"""What the gateway tells Prometheus beside the requests: how it treats its services and its clients."""

from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from gateway.upstream.breaker import Breaker, State


class Metrics:
    """The series of the gateway; a service is named, an address only by its place in the settings."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.retries = Counter(
            "gateway_retries_total", "Requests sent a second time", ("upstream",), registry=registry
        )
        self.refused = Counter("gateway_refused_total", "Requests refused here", ("reason",), registry=registry)
        self.in_flight = Gauge("gateway_in_flight", "Requests at the service", ("upstream",), registry=registry)
        self.queued = Gauge("gateway_queued", "Requests that wait for a place", ("upstream",), registry=registry)
        self.limit = Gauge("gateway_concurrency_limit", "Requests that may be there", ("upstream",), registry=registry)
        self.breaker = Gauge(
            "gateway_breaker_state",
            "1 for the state that the breaker of an address is in",
            ("upstream", "address", "state"),
            registry=registry,
        )

    def watch_breaker(self, upstream: str, address: int, breaker: Breaker) -> None:
        """Read when Prometheus asks, so that a request pays nothing for it."""
        for state in State:
            series = self.breaker.labels(upstream, str(address), state.value)
            series.set_function(partial(_is_in, breaker, state))


def _is_in(breaker: Breaker, state: State) -> float:
    return float(breaker.state is state)


# A process has one registry, as prometheus_client itself does.
METRICS = Metrics()
