"""Which failed requests may be sent a second time, when, and how many at once."""

import random
from collections.abc import Callable

# Seconds: long enough for a process that restarts to listen again, short enough to fit into a request's deadline.
_SHORTEST, _LONGEST = 0.025, 0.25

_SAFE = frozenset({"GET", "HEAD"})
_TRANSIENT = frozenset({502, 503})


class RetryBudget:
    """Bounds the retries at work by the requests in flight, so that retries cannot multiply an overload."""

    __slots__ = ("_least", "_share", "in_flight", "retrying")

    def __init__(self, *, least: int = 3, share: float = 0.2) -> None:
        self._least = least
        self._share = share
        self.in_flight = 0
        self.retrying = 0

    def begin(self) -> None:
        """A request begins, its retry not counted; `end` ends it."""
        self.in_flight += 1

    def end(self) -> None:
        self.in_flight -= 1

    def begin_retry(self) -> bool:
        """Whether there is room for another retry; if so, `end_retry` ends it."""
        if self.retrying >= max(self._least, int(self.in_flight * self._share)):
            return False
        self.retrying += 1
        return True

    def end_retry(self) -> None:
        self.retrying -= 1


def delay(draw: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds before the retry, with full jitter: what failed together does not come back together."""
    return draw(_SHORTEST, _LONGEST)


def may_repeat(method: str, *, keyed: bool, connected: bool) -> bool:
    """Whether a second try cannot do the work twice: `keyed` has an Idempotency-Key, `connected` may have arrived."""
    return not connected or method in _SAFE or (keyed and method == "POST")


def worth_repeating(status: int) -> bool:
    """Whether an answer says that the next try may go better."""
    return status in _TRANSIENT
