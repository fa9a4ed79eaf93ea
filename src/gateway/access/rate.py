"""How often a client may ask: a token bucket for each, and the headers that tell how full it is.

The headers are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

import re
from math import ceil
from typing import NamedTuple

_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})(?:/([0-9]{1,9}))?")
_MOST_REQUESTS = 1_000_000
_LONGEST_WINDOW = 86_400
_WAYS = 32
# Seconds: more than the rounding of a clock that has run for a year.
_SLACK = 1e-7


class Policy(NamedTuple):
    """`requests` in `seconds` on average, `burst` of them at once."""

    requests: int
    seconds: int
    burst: int


class Decision(NamedTuple):
    """Times are in whole seconds, rounded up: until the burst is whole again, and until a refused request may come."""

    allowed: bool
    remaining: int
    reset_seconds: int
    retry_after: int


class RateLimiter:
    """Token buckets as GCRA: of each client only when its bucket will be full again is kept.

    That time is counted in requests at the permitted rate, so adding one is exact. The clients are spread over small
    sets, as in a set-associative cache: whatever a set has to do, looking for room included, is done in microseconds.
    Which clients share a set cannot be chosen, as the hash of a string is seeded at random.
    """

    def __init__(self, requests: int, seconds: int, burst: int, most_clients: int = 100_000) -> None:
        self._rate = requests / seconds
        self._slack = _SLACK * self._rate
        self._burst = burst
        self._policy = f'"default";q={requests};w={seconds}'
        self._sets = [_Clients() for _ in range(max(1, most_clients // _WAYS))]
        self._ways = most_clients // len(self._sets)

    def __len__(self) -> int:
        """Clients remembered."""
        return sum(len(clients.full_at) for clients in self._sets)

    def take(self, client: str, now: float) -> Decision:
        """Takes one request of the client's; `now` is in monotonic seconds and never less than before."""
        clock = now * self._rate
        clients = self._sets[hash(client) % len(self._sets)]
        # Taken out and put back at the end: a dict is ordered by insertion.
        full_at = max(clients.full_at.pop(client, clock), clock)
        if len(clients.full_at) >= self._ways:
            clients.make_room(clock)
        allowed = full_at - clock + 1 <= self._burst + self._slack
        clients.full_at[client] = full_at = full_at + allowed
        missing = full_at - clock
        remaining = int(self._burst + self._slack - missing)
        retry_after = 0 if allowed else max(1, self._seconds(missing + 1 - self._burst))
        return Decision(allowed, remaining, self._seconds(missing), retry_after)

    def headers(self, decision: Decision) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit`, the latter until the bucket is full.

        Of a refusal it ends with `Retry-After`, which must not come before the end (§6 of the draft).
        """
        window = decision.reset_seconds if decision.allowed else decision.retry_after
        return {"RateLimit-Policy": self._policy, "RateLimit": f'"default";r={decision.remaining};t={window}'}

    def _seconds(self, requests: float) -> int:
        """In which the rate permits so many."""
        return ceil(requests / self._rate - _SLACK / 2)


def parse_rate_limit(text: str) -> Policy:
    """Of `requests/seconds` or `requests/seconds/burst`. Raises ValueError with all problems, one a line."""
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


class _Clients:
    """A few clients, the least recently seen first, each with the time at which its bucket is full again."""

    __slots__ = ("_none_full_before", "full_at")

    def __init__(self) -> None:
        self.full_at: dict[str, float] = {}
        self._none_full_before = 0.0

    def make_room(self, clock: float) -> None:
        """Forgets those whose bucket is full again, of whom nothing is lost, or else the least recently seen."""
        full = self._full(clock) if clock >= self._none_full_before else []
        for client in full or [next(iter(self.full_at))]:
            del self.full_at[client]

    def _full(self, clock: float) -> list[str]:
        """Whoever comes later takes a request, so that its bucket is not full before one more is permitted."""
        later = [full_at for full_at in self.full_at.values() if full_at > clock]
        self._none_full_before = min([clock + 1, *later])
        return [client for client, full_at in self.full_at.items() if full_at <= clock]
