"""How many requests may wait for a service, and how long: a burst may be sat out, a standing queue may not.

After CoDel (RFC 8289): a queue that empties again and again only evens out what comes unevenly. One that does not, and
from which some have to be turned away, is an overload. To wait in it gains nobody anything, so that it is kept just
long enough for the service to find its next request there.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a queue: its length, and the seconds that a request may be in it."""

    places: int
    seconds: float


# Measured (docs/performance.md): with the load generator on the same two cores, 1,000 orders/s bring stalls of 300 ms.
BURST = Bounds(places=512, seconds=0.4)
STANDING = Bounds(places=16, seconds=0.02)
# Longer than a burst takes to be worked off; also how long an overload is remembered after the last refusal.
INTERVAL = 0.5


class Patience:
    """Of one queue, which tells it what happens; times are monotonic seconds."""

    def __init__(self, burst: Bounds = BURST, standing: Bounds = STANDING, interval: float = INTERVAL) -> None:
        self._burst = burst
        self._standing = standing
        self._interval = interval
        self._waiting_since = math.inf
        self._overloaded_until = -math.inf

    def bounds(self, now: float) -> Bounds:
        return self._standing if now < self._overloaded_until else self._burst

    def began(self, now: float) -> None:
        """The first request waits."""
        self._waiting_since = now

    def ended(self) -> None:
        """No request waits any more."""
        self._waiting_since = math.inf

    def refused(self, now: float) -> None:
        """A request had to be turned away."""
        if now < self._overloaded_until or now - self._waiting_since >= self._interval:
            self._overloaded_until = now + self._interval
