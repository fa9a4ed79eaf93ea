import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.upstream.pool import Call, is_worth_repeating, most_retries, retry_delay
from shared.errors import AppError, Code
from shared.web.exchange import Reply

KEYED = {"Idempotency-Key": "key"}
NOT_CONNECTED = AppError(Code.UNAVAILABLE, "orders cannot be reached")
BROKEN_OFF = AppError(Code.UPSTREAM_ERROR, "orders gave no usable answer")
TIMED_OUT = AppError(Code.UPSTREAM_TIMEOUT, "orders did not answer in time")


@pytest.mark.parametrize(("in_flight", "expected"), [(0, 3), (1, 3), (19, 3), (20, 4), (99, 19), (100, 20)])
def test_a_fifth_of_the_requests_in_flight_may_be_repeated_but_always_three(in_flight: int, expected: int) -> None:
    assert expected == most_retries(in_flight)


def test_the_delay_is_spread_over_all_of_its_range() -> None:
    delays = [retry_delay() for _ in range(500)]
    assert 0.025 <= min(delays) < 0.07
    assert 0.2 < max(delays) <= 0.25


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {}, True),
        ("HEAD", {}, True),
        ("POST", {}, False),
        ("POST", KEYED, True),
        ("PATCH", {}, False),
        ("PATCH", KEYED, False),  # the release before does not look at its key
    ],
)
def test_only_what_cannot_be_done_twice_is_repeated(method: str, headers: dict[str, str], expected: bool) -> None:
    call = Call(method, "/orders", headers, "one")
    outcomes = [is_worth_repeating(call, outcome) for outcome in (BROKEN_OFF, NOT_CONNECTED, TIMED_OUT)]
    assert outcomes == [expected, True, False]


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, False), (409, False), (429, False), (500, False), (502, True), (503, True), (504, False)],
)
def test_only_a_transient_failure_is_worth_another_try(status: int, expected: bool) -> None:
    reply = Reply(status, CIMultiDictProxy(CIMultiDict()), b"")
    assert expected == is_worth_repeating(Call("GET", "/orders", {}, "one"), reply)
