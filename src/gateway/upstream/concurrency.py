"""How many requests a service is given at once: an adaptive limit by the gradient of its latency.

The rule is that of Envoy's adaptive concurrency filter (gradient controller): after each window of samples,
`limit = gradient * limit + sqrt(limit)` where `gradient = (minRTT + buffer) / sampleRTT`, clipped. Where it differs:
- A service that answers in batches has many times its idle latency at full goodput, so the buffer has a fixed part.
- minRTT is the lowest window seen. Where Envoy lets only a few requests through to measure it again, the limit dips to
  a third, and only while requests wait for a place anyway: that is enough to tell a slower service from a queue.
- A limit that is not filled does not grow: a sudden load would meet one that nothing has tried.
- One change a round trip: what was sent under the old limit tells nothing of the new one.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimitParameters:
    """Times are seconds. Latency may reach `minRTT * tolerance + buffer`.

    An overload that never ends leaves only the dips to measure minRTT; the allowed latency then settles at
    `buffer / (1 - tolerance * dip)`, 86 ms, and would not settle if `tolerance * dip` were 1 or more.
    """

    start: int = 64
    least: int = 32  # but for a dip
    most: int = 512
    window: float = 0.1
    least_samples: int = 10
    percentile: float = 0.5
    tolerance: float = 1.2
    buffer: float = 0.07
    lowest_gradient: float = 0.5
    highest_gradient: float = 1.5
    full_from: float = 0.8  # share of the limit in flight
    dip: float = 0.35
    dip_after: float = 10.0  # without a lower latency


DEFAULTS = LimitParameters()

# Seconds that a change is given to take effect, however slow the service is.
_LONGEST_PAUSE = 1.0
_TICK = 1e-6


class ConcurrencyLimit:
    """Of one service. `limit` changes only inside `sample` and `failed`; times are monotonic seconds."""

    def __init__(self, parameters: LimitParameters = DEFAULTS) -> None:
        self._parameters = parameters
        self._samples: list[float] = []
        self._peak = 0  # most requests in flight in the window
        self._start = -math.inf  # of the window; in the future while a change takes effect
        self._end = -math.inf
        self._min_rtt = math.inf
        self._measured = math.inf  # when `_min_rtt` was; infinity before it first is
        self._before_dip = 0  # the limit to go back to; 0 outside a dip
        self.limit = parameters.start

    def sample(self, seconds: float, in_flight: int, now: float) -> None:
        """A request, one of `in_flight`, was answered after `seconds`."""
        if now < self._start:
            return
        self._peak = max(self._peak, in_flight)
        self._samples.append(seconds)
        if now >= self._end and len(self._samples) >= self._parameters.least_samples:
            self._close_window(now)

    def failed(self, seconds: float, in_flight: int, now: float) -> None:
        """A request timed out after `seconds`; a deadline shorter than the allowed latency tells nothing."""
        if seconds >= self._allowed_rtt():
            self.sample(math.inf, in_flight, now)

    def _allowed_rtt(self) -> float:
        if self._min_rtt == math.inf:
            return self._parameters.buffer
        return self._min_rtt * self._parameters.tolerance + self._parameters.buffer

    def _close_window(self, now: float) -> None:
        parameters = self._parameters
        self._samples.sort()
        rtt = max(_TICK, self._samples[int(len(self._samples) * parameters.percentile)])
        full = self._peak >= self.limit * parameters.full_from
        stale = now - self._measured > parameters.dip_after
        if self._before_dip:
            limit, self._before_dip = self._before_dip, 0
            self._learn(rtt, now)
        elif stale and full:  # slower, or only given too much to do?
            limit, self._before_dip = max(1, int(self.limit * parameters.dip)), self.limit
        else:
            if stale or rtt < self._min_rtt:
                self._learn(rtt, now)
            limit = self._next_limit(rtt, full)
        self._open_window(rtt, limit, now)

    def _learn(self, rtt: float, now: float) -> None:
        if rtt < math.inf:
            self._min_rtt = rtt
        self._measured = now

    def _next_limit(self, rtt: float, full: bool) -> int:
        parameters = self._parameters
        gradient = 0.0 if rtt == math.inf else self._allowed_rtt() / rtt
        gradient = max(parameters.lowest_gradient, min(parameters.highest_gradient, gradient))
        limit = int(gradient * self.limit + math.sqrt(self.limit))
        if limit > self.limit and not full:
            return self.limit
        return max(parameters.least, min(parameters.most, limit))

    def _open_window(self, rtt: float, limit: int, now: float) -> None:
        # Until the requests that met the old limit are answered, latency tells nothing of the new one.
        pause = 0.0 if limit == self.limit else min(rtt, _LONGEST_PAUSE)
        self.limit = limit
        self._samples.clear()
        self._peak = 0
        self._start = now + pause
        self._end = self._start + self._parameters.window
