import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.upstream.pool import Call, is_worth_repeating, most_retries, retry_delay
from shared.errors import AppError, Code
from shared.web.client import Reply

NOT_CONNECTED = AppError(Code.UNAVAILABLE, "orders cannot be reached")
BROKEN_OFF = AppError(Code.UPSTREAM_ERROR, "orders gave no usable answer")


def call(method: str, *, keyed: bool = False) -> Call:
    return Call(method, "/orders", {"Idempotency-Key": "key"} if keyed else {})


@pytest.mark.parametrize(("in_flight", "expected"), [(0, 3), (1, 3), (19, 3), (20, 4), (99, 19), (100, 20)])
def test_a_fifth_of_the_requests_in_flight_may_be_repeated_but_always_three(in_flight: int, expected: int) -> None:
    assert expected == most_retries(in_flight)


@given(st.integers())
def test_the_delay_is_spread_over_all_of_its_range(seed: int) -> None:
    draw = random.Random(seed).uniform  # noqa: S311  # a delay, not a secret
    delays = [retry_delay(draw) for _ in range(200)]
    assert all(0.025 <= seconds <= 0.25 for seconds in delays)
    assert min(delays) < 0.07
    assert max(delays) > 0.2


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("keyed", [False, True])
def test_what_never_left_may_be_sent_again(method: str, *, keyed: bool) -> None:
    assert is_worth_repeating(call(method, keyed=keyed), NOT_CONNECTED)


@pytest.mark.parametrize(
    ("method", "keyed", "expected"),
    [
        ("GET", False, True),
        ("HEAD", False, True),
        ("POST", False, False),
        ("POST", True, True),
        ("PATCH", False, False),
        ("PATCH", True, False),  # nothing but a POST looks at the key
    ],
)
def test_what_may_have_arrived_is_repeated_only_if_it_cannot_be_done_twice(
    method: str, *, keyed: bool, expected: bool
) -> None:
    assert expected == is_worth_repeating(call(method, keyed=keyed), BROKEN_OFF)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, False), (409, False), (429, False), (500, False), (502, True), (503, True), (504, False)],
)
def test_only_a_transient_failure_is_worth_another_try(status: int, *, expected: bool) -> None:
    reply = Reply(status, CIMultiDictProxy(CIMultiDict()), b"")
    assert expected == is_worth_repeating(call("GET"), reply)


def test_a_time_out_is_not_worth_another_try() -> None:
    assert not is_worth_repeating(call("GET"), AppError(Code.UPSTREAM_TIMEOUT, "orders did not answer in time"))
