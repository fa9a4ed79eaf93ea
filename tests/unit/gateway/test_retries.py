import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.upstream.retries import RetryBudget, delay, may_repeat, worth_repeating


def taken(budget: RetryBudget) -> int:
    """Retries until the budget says no."""
    count = 0
    while budget.begin_retry():
        count += 1
    return count


@pytest.mark.parametrize(("in_flight", "expected"), [(0, 3), (1, 3), (19, 3), (20, 4), (99, 19), (100, 20)])
def test_a_fifth_of_the_requests_in_flight_may_be_repeated_but_always_three(in_flight: int, expected: int) -> None:
    budget = RetryBudget()
    for _ in range(in_flight):
        budget.begin()
    assert expected == taken(budget)


def test_a_retry_that_ended_makes_room_for_another() -> None:
    budget = RetryBudget()
    assert taken(budget) == 3
    budget.end_retry()
    assert taken(budget) == 1


class BudgetMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.budget = RetryBudget(least=2, share=0.5)
        self.in_flight = 0
        self.retrying = 0

    @rule()
    def begin(self) -> None:
        self.budget.begin()
        self.in_flight += 1

    @precondition(lambda self: self.in_flight)
    @rule()
    def end(self) -> None:
        self.budget.end()
        self.in_flight -= 1

    @rule()
    def begin_retry(self) -> None:
        expected = self.retrying < max(2, self.in_flight // 2)
        assert expected == self.budget.begin_retry()
        self.retrying += expected

    @precondition(lambda self: self.retrying)
    @rule()
    def end_retry(self) -> None:
        self.budget.end_retry()
        self.retrying -= 1

    @invariant()
    def both_are_counted(self) -> None:
        assert (self.in_flight, self.retrying) == (self.budget.in_flight, self.budget.retrying)


TestBudgetMachine = BudgetMachine.TestCase


@given(st.integers())
def test_the_delay_is_spread_over_all_of_its_range(seed: int) -> None:
    draw = random.Random(seed).uniform  # noqa: S311  # a delay, not a secret
    delays = [delay(draw) for _ in range(200)]
    assert all(0.025 <= seconds <= 0.25 for seconds in delays)
    assert min(delays) < 0.07
    assert max(delays) > 0.2


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("keyed", [False, True])
def test_what_never_left_may_be_sent_again(method: str, *, keyed: bool) -> None:
    assert may_repeat(method, keyed=keyed, connected=False)


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
    assert expected == may_repeat(method, keyed=keyed, connected=True)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, False), (409, False), (429, False), (500, False), (502, True), (503, True), (504, False)],
)
def test_only_a_transient_failure_is_worth_another_try(status: int, *, expected: bool) -> None:
    assert expected == worth_repeating(status)
