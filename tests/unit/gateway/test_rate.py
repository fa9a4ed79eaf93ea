import math
from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.rate import Policy, RateLimiter, Refusals, parse_rate_limit

# Monotonic clocks count from the start of the machine.
STARTS = st.floats(0, 3e7)
PAUSES = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 100)), max_size=60)


@st.composite
def policies(draw: Callable[..., int]) -> Policy:
    requests = draw(st.integers(1, 50) | st.integers(1, 1_000_000))
    return Policy(requests, draw(st.integers(1, 86_400)), draw(st.integers(1, requests)))


def allowed(limiter: RateLimiter, client: str, now: float, tries: int) -> int:
    return sum(limiter.take(client, now).allowed for _ in range(tries))


def test_rounding_adds_no_second() -> None:
    assert RateLimiter(1, 49, 1).take("a", 0.0).reset_seconds == 49  # 1 / (1 / 49) is a little more than 49


def near(value: float) -> bool:
    """Whether rounding decides about the whole number that belongs to `value`."""
    return abs(value - round(value)) < 0.02


@settings(max_examples=200)
@given(policies(), STARTS, PAUSES)
def test_decisions_and_headers_are_those_of_a_token_bucket(policy: Policy, start: float, pauses: list[float]) -> None:
    limiter, rate = RateLimiter(*policy), policy.requests / policy.seconds
    tokens = float(policy.burst)
    for before, now in pairwise(accumulate([0.0, *pauses], initial=start)):
        tokens = min(policy.burst, tokens + (now - before) * rate)
        decision = limiter.take("a", now)
        if not near(tokens):
            assert decision.allowed == (tokens >= 1)
        tokens -= decision.allowed
        reset, wait = (policy.burst - tokens) / rate, (1 - tokens) / rate
        if not any(map(near, (tokens, reset, wait))):
            expected = (int(tokens), math.ceil(reset), 0 if decision.allowed else math.ceil(wait))
            assert (decision.remaining, decision.reset_seconds, decision.retry_after) == expected
        window = decision.reset_seconds if decision.allowed else decision.retry_after
        assert limiter.headers(decision) == {
            "RateLimit-Policy": f'"default";q={policy.requests};w={policy.seconds}',
            "RateLimit": f'"default";r={decision.remaining};t={window}',
        }


@given(policies(), STARTS)
def test_a_refused_client_is_allowed_after_the_wait_and_not_one_second_earlier(policy: Policy, start: float) -> None:
    limiter = RateLimiter(policy.requests, policy.seconds, burst := min(policy.burst, 50))
    assert allowed(limiter, "a", start, burst + 1) == burst
    wait = limiter.take("a", start).retry_after
    assert wait == 1 or not limiter.take("a", start + wait - 1.1).allowed
    assert limiter.take("a", start + wait).allowed
    assert allowed(limiter, "a", start + wait + limiter.take("a", start + wait).reset_seconds, burst + 1) == burst


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 3)), max_size=60), st.integers(1, 8))
def test_a_full_table_forgets_the_client_seen_least_recently(takes: list[tuple[str, float]], most: int) -> None:
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


def test_a_hundred_thousand_clients_are_remembered() -> None:
    limiter = RateLimiter(1, 60, 1)
    for number in range(100_001):
        limiter.take(str(number), 0.0)
    assert len(limiter) == 100_000


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


FORM = "must be REQUESTS/SECONDS or REQUESTS/SECONDS/BURST, as 100/60 or 100/60/20"
REQUESTS, SECONDS = "requests must be from 1 to 1000000", "seconds must be from 1 to 86400"
BURST = "burst must be from 1 to the requests"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, [FORM]) for text in ("", "100", "100/", "/60", "a/60", "100/60/", "1/2/3/4", "-1/60", "1.5/60")),
        ("1/٣", [FORM]),
        ("0/0", [REQUESTS, SECONDS]),
        ("1000001/86401/0", [REQUESTS, SECONDS, BURST]),
        ("100/60/101", [BURST]),
    ],
)
def test_all_problems_of_a_limit_are_reported_at_once(text: str, expected: list[str]) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        parse_rate_limit(text)
    assert expected == str(caught.value).splitlines()


def test_a_client_that_is_refused_again_and_again_waits_for_it_and_no_other_does() -> None:
    """Two a second, and none for more than 3 s."""
    refusals = Refusals(2.0, 3.0)
    refusals.saw("b", 10.0)
    refusals.saw("a", 10.0)
    found = [refusals.delay(client, 10.0) for client in ("aaaab" + "a" * 6)]
    found += [refusals.delay("a", now) for now in (10.5, 10.9)]
    assert found == pytest.approx([0.0, 0.0, 0.5, 1.0, 0.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0, 3.0, 3.0])
    refusals.saw("b", 15.0)
    assert [refusals.delay("a", 15.0) for _ in "aaa"] == [0.0, 0.0, 0.5]


def test_a_client_that_is_alone_does_not_wait_for_its_refusals() -> None:
    refusals = Refusals(1.0, 60.0)
    found = []
    for client, now in (("a", 10.0), ("a", 10.5), ("b", 11.0), ("a", 11.5), ("a", 12.4), ("a", 12.5)):
        refusals.saw(client, now)
        found.append(refusals.delay(client, now) > 0)
    assert found == [False, False, False, True, True, False]
