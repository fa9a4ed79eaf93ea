import math
import re
from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.rate import Decision, Policy, RateLimiter, parse_rate_limit

# Monotonic clocks count from the start of the machine.
STARTS = st.floats(0, 3e7)
PAUSES = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 100)), max_size=150)
RATE_LIMIT = re.compile(r'"default";r=(\d+);t=(\d+)')


@st.composite
def policies(draw: Callable[..., int]) -> Policy:
    requests = draw(st.integers(1, 50) | st.integers(1, 1_000_000))
    return Policy(requests, draw(st.integers(1, 86_400)), draw(st.integers(1, requests)))


def allowed(limiter: RateLimiter, client: str, now: float, tries: int) -> int:
    return sum(limiter.take(client, now).allowed for _ in range(tries))


def test_the_burst_is_allowed_at_once_and_then_the_rate() -> None:
    limiter = RateLimiter(100, 60, 20)
    assert allowed(limiter, "a", 1000.0, 30) == 20
    assert allowed(limiter, "a", 1000.5, 30) == 0
    assert allowed(limiter, "a", 1000.6, 30) == 1
    assert allowed(limiter, "a", 1006.6, 30) == 10


def test_decisions_tell_what_is_left_and_how_long_to_wait() -> None:
    limiter = RateLimiter(100, 60, 3)
    decisions = [limiter.take("a", now) for now in (7.0, 7.0, 7.0, 7.0, 7.5, 8.2)]
    expected = [
        Decision(allowed=True, remaining=2, reset_seconds=1, retry_after=0),
        Decision(allowed=True, remaining=1, reset_seconds=2, retry_after=0),
        Decision(allowed=True, remaining=0, reset_seconds=2, retry_after=0),
        Decision(allowed=False, remaining=0, reset_seconds=2, retry_after=1),
        Decision(allowed=False, remaining=0, reset_seconds=2, retry_after=1),
        Decision(allowed=True, remaining=1, reset_seconds=2, retry_after=0),
    ]
    assert expected == decisions


def test_clients_do_not_share_a_bucket() -> None:
    limiter = RateLimiter(1, 60, 1)
    assert [limiter.take(client, 0.0).allowed for client in "aabb"] == [True, False, True, False]


@given(policies(), STARTS, PAUSES)
def test_no_interval_has_more_than_the_burst_and_the_rate(policy: Policy, start: float, pauses: list[float]) -> None:
    limiter = RateLimiter(*policy)
    times = [now for now in accumulate(pauses, initial=start) for _ in range(2) if limiter.take("a", now).allowed]
    rate = policy.requests / policy.seconds
    for first, begin in enumerate(times):
        for last, end in enumerate(times[first:], first):
            assert last - first + 1 <= policy.burst + rate * (end - begin) + 0.02


@given(policies(), STARTS, PAUSES)
def test_nobody_is_refused_whom_a_bucket_of_tokens_would_allow(
    policy: Policy, start: float, pauses: list[float]
) -> None:
    limiter = RateLimiter(*policy)
    tokens = float(policy.burst)
    for before, now in pairwise(accumulate([0.0, *pauses], initial=start)):
        tokens = min(policy.burst, tokens + (now - before) * policy.requests / policy.seconds)
        decision = limiter.take("a", now)
        if math.floor(tokens - 0.02) == math.floor(tokens + 0.02):  # not on the edge, where rounding decides
            assert decision.allowed == (tokens >= 1)
        tokens -= decision.allowed


@given(st.builds(Policy, st.integers(50, 1000), st.integers(1, 86_400), st.integers(1, 50)), STARTS, PAUSES)
def test_whoever_was_idle_has_the_full_burst(policy: Policy, start: float, pauses: list[float]) -> None:
    limiter = RateLimiter(*policy)
    last = [(now, limiter.take("a", now)) for now in accumulate(pauses, initial=start)][-1]
    idle = last[0] + last[1].reset_seconds
    assert allowed(limiter, "a", idle, policy.burst + 1) == policy.burst


@given(policies(), STARTS, PAUSES)
def test_headers_say_what_the_decisions_do(policy: Policy, start: float, pauses: list[float]) -> None:
    limiter = RateLimiter(*policy)
    for now in accumulate(pauses, initial=start):
        decision = limiter.take("a", now)
        headers = limiter.headers(decision)
        shown = RATE_LIMIT.fullmatch(headers["RateLimit"])
        assert headers["RateLimit-Policy"] == f'"default";q={policy.requests};w={policy.seconds}'
        assert shown is not None
        remaining, window = int(shown[1]), int(shown[2])
        assert 0 <= remaining < policy.burst
        assert 1 <= window <= decision.reset_seconds
        if decision.allowed:
            assert (decision.retry_after, window) == (0, decision.reset_seconds)
        else:
            assert (decision.retry_after, remaining) == (window, 0)


@given(policies(), STARTS, st.integers(0, 60))
def test_as_many_follow_at_once_as_remain(policy: Policy, start: float, taken: int) -> None:
    limiter = RateLimiter(*policy)
    decision = [limiter.take("a", start) for _ in range(taken + 1)][-1]
    if decision.remaining <= 100:
        assert allowed(limiter, "a", start, decision.remaining + 1) == decision.remaining


@given(policies(), STARTS)
def test_whoever_waits_as_told_is_allowed_and_not_one_second_earlier(policy: Policy, start: float) -> None:
    limiter = RateLimiter(policy.requests, policy.seconds, burst := min(policy.burst, 50))
    assert allowed(limiter, "a", start, burst) == burst
    refused = limiter.take("a", start)
    assert not refused.allowed
    if refused.retry_after > 1:
        assert not limiter.take("a", start + refused.retry_after - 1.1).allowed
    assert limiter.take("a", start + refused.retry_after).allowed


def test_a_million_clients_stay_within_the_bound() -> None:
    limiter = RateLimiter(100, 3600, 100, most_clients=1_000)
    for number in range(1_000_000):
        limiter.take(f"client-{number % 50_000}", number * 1e-5)
        if number % 10_000 == 0:
            assert len(limiter) <= 1_000
    assert len(limiter) == 1_000


@given(st.integers(1, 500), st.lists(st.integers(0, 2_000), max_size=300))
def test_never_more_clients_than_the_bound(most: int, clients: list[int]) -> None:
    limiter = RateLimiter(1, 60, 1, most_clients=most)
    for now, client in enumerate(clients):
        limiter.take(str(client), now / 10)
        assert len(limiter) <= most


def test_the_least_recently_seen_client_is_forgotten() -> None:
    limiter = RateLimiter(1, 3600, 1, most_clients=3)
    for now, client in enumerate(["a", "b", "c", "a", "d"]):
        limiter.take(client, now)
    assert len(limiter) == 3
    assert not limiter.take("a", 5).allowed
    assert not limiter.take("c", 5).allowed
    assert not limiter.take("d", 5).allowed
    assert limiter.take("b", 5).allowed


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 3)), max_size=100), st.integers(1, 8))
def test_a_full_table_forgets_as_it_should(takes: list[tuple[str, float]], most: int) -> None:
    """Compared with a plain dict."""
    limiter = RateLimiter(10, 20, 4, most_clients=most)
    model: dict[str, float] = {}
    for (client, _), now in zip(takes, accumulate((pause for _, pause in takes), initial=100.0), strict=False):
        full_at = max(model.pop(client, now), now)
        if len(model) == most:
            del model[next(iter(model))]
        expected = (full_at - now) / 2 + 1 <= 4
        edge = abs((full_at - now) / 2 - 3) < 0.02
        decision = limiter.take(client, now)
        assert edge or decision.allowed == expected
        model[client] = full_at + 2 * decision.allowed
        assert len(model) == len(limiter)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100/60", Policy(100, 60, 100)),
        (" 100/60/20 ", Policy(100, 60, 20)),
        ("1/86400/1", Policy(1, 86400, 1)),
        ("1000000/1", Policy(1_000_000, 1, 1_000_000)),
    ],
)
def test_a_limit_is_requests_seconds_and_a_burst(text: str, expected: Policy) -> None:
    assert expected == parse_rate_limit(text)


@pytest.mark.parametrize("text", ["", "100", "100/", "/60", "a/60", "100/60/", "1/2/3/4", "-1/60", "1.5/60", "1/٣"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be REQUESTS/SECONDS or REQUESTS/SECONDS/BURST"):
        parse_rate_limit(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0/0", ["requests must be from 1 to 1000000", "seconds must be from 1 to 86400"]),
        ("1000001/86401/0", ["requests must", "seconds must", "burst must be from 1 to the requests"]),
        ("100/60/101", ["burst must be from 1 to the requests"]),
    ],
)
def test_all_problems_of_a_limit_are_reported_at_once(text: str, expected: list[str]) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        parse_rate_limit(text)
    problems = str(caught.value).splitlines()
    assert [problem.startswith(start) for problem, start in zip(problems, expected, strict=True)] == [True] * len(
        expected
    )
