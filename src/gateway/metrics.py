"""The gateway's own metrics: retries, refusals, load and breakers of its services."""

from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from gateway.upstream.breaker import Breaker, State


class Metrics:
    """An address is labelled with its position in the settings, so that no host name is published."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.retries = Counter(
            "gateway_retries_total", "Requests sent a second time", ("upstream",), registry=registry
        )
        self.refused = Counter("gateway_refused_total", "Requests refused here", ("reason",), registry=registry)
        self.in_flight = Gauge("gateway_in_flight", "Requests at the service", ("upstream",), registry=registry)
        self.queued = Gauge("gateway_queued", "Requests that wait for a slot", ("upstream",), registry=registry)
        self.limit = Gauge("gateway_concurrency_limit", "Requests that may be there", ("upstream",), registry=registry)
        self.breaker = Gauge(
            "gateway_breaker_state",
            "1 for the state that the breaker of an address is in",
            ("upstream", "address", "state"),
            registry=registry,
        )

    def watch_breaker(self, upstream: str, address: int, breaker: Breaker) -> None:
        """The state is read when Prometheus asks, so that it costs a request nothing."""
        for state in State:
            series = self.breaker.labels(upstream, str(address), state.value)
            series.set_function(partial(_is_in, breaker, state))


def _is_in(breaker: Breaker, state: State) -> float:
    return float(breaker.state is state)


# A process has one registry, as prometheus_client itself does.
METRICS = Metrics()
