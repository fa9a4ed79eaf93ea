"""Limits how often a client may ask: one token bucket for each client, and the headers that show how full it is.

The headers are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

import re
from collections import OrderedDict
from math import ceil
from typing import NamedTuple

_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})(?:/([0-9]{1,9}))?")
_MOST_REQUESTS = 1_000_000
_LONGEST_WINDOW = 86_400
# Seconds: more than the rounding error of a clock that has run for a year.
_SLACK = 1e-7


class Policy(NamedTuple):
    """A client may send `requests` in `seconds` on average, and `burst` of them at once."""

    requests: int
    seconds: int
    burst: int


class Decision(NamedTuple):
    """Whole seconds, rounded up: until the bucket is full again, and until a refused client may try again."""

    allowed: bool
    remaining: int
    reset_seconds: int
    retry_after: int


class RateLimiter:
    """Token buckets as GCRA: for each client only the time at which its bucket will be full again is kept.

    That time is counted in requests at the permitted rate, so that adding one is exact. When the table is full, the
    client that was seen least recently is forgotten. An OrderedDict finds it in a microsecond; in a plain dict the
    search would pass over all entries that were deleted before it.
    """

    def __init__(self, requests: int, seconds: int, burst: int, most_clients: int = 100_000) -> None:
        self._rate = requests / seconds
        self._slack = _SLACK * self._rate
        self._burst = burst
        self._policy = f'"default";q={requests};w={seconds}'
        self._most_clients = most_clients
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """The number of clients that are remembered."""
        return len(self._full_at)

    def take(self, client: str, now: float) -> Decision:
        """Takes one request from the client's bucket; `now` is in monotonic seconds and never less than before."""
        clock = now * self._rate
        missing = max(self._full_at.pop(client, clock) - clock, 0.0)
        allowed = missing + 1 <= self._burst + self._slack
        missing += allowed
        self._full_at[client] = clock + missing
        if len(self._full_at) > self._most_clients:
            self._full_at.popitem(last=False)
        remaining = int(self._burst + self._slack - missing)
        retry_after = 0 if allowed else max(1, self._seconds(missing + 1 - self._burst))
        return Decision(allowed, remaining, self._seconds(missing), retry_after)

    def headers(self, decision: Decision) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit`, whose window ends when the bucket is full.

        The window of a refusal ends with `Retry-After`, which must not come before the window's end (§6 of the draft).
        """
        window = decision.reset_seconds if decision.allowed else decision.retry_after
        return {"RateLimit-Policy": self._policy, "RateLimit": f'"default";r={decision.remaining};t={window}'}

    def _seconds(self, requests: float) -> int:
        """The time in which the rate permits so many requests."""
        return ceil(requests / self._rate - _SLACK / 2)


class Refusals:
    """Makes a client wait that is refused again and again, so that it leaves the process to the others.

    Times are monotonic seconds. A client that has been alone for a second is answered at once.
    """

    def __init__(self, a_second: float = 100.0, longest: float = 10.0) -> None:
        """`a_second` refusals of a client are answered at once, and as many in each second that follows.

        Those beyond wait for their turn, at most `longest` seconds.
        """
        self._interval = 1 / a_second
        self._longest = longest
        self._latest = ""
        self._others_until = 0.0
        self._swept = 0.0
        self._turns: dict[str, float] = {}  # when the last refusal of a client has its turn

    def saw(self, client: str, now: float) -> None:
        """A request has come."""
        if client != self._latest:
            self._others_until = now + 1 if self._latest else 0.0
            self._latest = client

    def delay(self, client: str, now: float) -> float:
        """The seconds that this refusal waits. Its request is seen here too: most are of no route."""
        self.saw(client, now)
        if now - self._swept >= 1:
            self._swept = now
            self._turns = {each: turn for each, turn in self._turns.items() if turn > now}
        turn = max(self._turns.get(client, now), now) + self._interval
        self._turns[client] = min(turn, now + 1 + self._longest)
        return max(0.0, self._turns[client] - now - 1) if now < self._others_until else 0.0


def parse_rate_limit(text: str) -> Policy:
    """Reads `requests/seconds` or `requests/seconds/burst`. Raises ValueError with all problems, one a line."""
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise ValueError("must be REQUESTS/SECONDS or REQUESTS/SECONDS/BURST, as 100/60 or 100/60/20")
    requests, seconds, burst = (int(number) for number in (form[1], form[2], form[3] or form[1]))
    problems = []
    if not 1 <= requests <= _MOST_REQUESTS:
        problems.append(f"requests must be from 1 to {_MOST_REQUESTS}")
    if not 1 <= seconds <= _LONGEST_WINDOW:
        problems.append(f"seconds must be from 1 to {_LONGEST_WINDOW}")
    if form[3] and not 1 <= burst <= requests:
        problems.append("burst must be from 1 to the requests")
    if problems:
        raise ValueError("\n".join(problems))
    return Policy(requests, seconds, burst)
