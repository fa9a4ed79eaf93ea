import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.sweeper import is_due

STUCK = 60


def thresholds(after: float, until: float, stuck_after: int) -> int:
    """How many of `stuck_after` times 1, 2, 4, 8, … lie above `after` and not above `until`."""
    return sum(after < stuck_after * 2**k <= until for k in range(64))


def due_at(ages: list[int], stuck_after: int) -> list[bool]:
    """Whether an order is due at each sweep; the first knows of none before it."""
    since = [math.inf, *(age - before for before, age in pairwise(ages))]
    return [is_due(age, passed, stuck_after) for age, passed in zip(ages, since, strict=True)]


@given(st.sets(st.integers(0, 1_000_000), min_size=1), st.integers(1, 1_000))
def test_an_order_is_due_once_for_each_threshold_and_at_most_once_a_sweep(ages: set[int], stuck_after: int) -> None:
    sweeps = sorted(ages)
    expected = [thresholds(before, age, stuck_after) > 0 for before, age in pairwise([-1, *sweeps])]
    assert expected == due_at(sweeps, stuck_after)


@given(st.integers(0, 100_000), st.integers(1, 100_000), st.integers(1, 1_000))
def test_frequent_sweeps_announce_as_often_as_there_are_thresholds(start: int, span: int, stuck_after: int) -> None:
    step = max(1, stuck_after // 4)
    sweeps = list(range(start, start + span, step))
    expected = thresholds(sweeps[0], sweeps[-1], stuck_after)
    assert expected == sum(due_at(sweeps, stuck_after)[1:])


@pytest.mark.parametrize(
    ("age", "since", "expected"),
    [
        (0, 15, False),
        (59, 15, False),
        (60, 15, True),
        (74, 15, True),
        (75, 15, False),
        (119, 15, False),
        (121, 15, True),
    ],
)
def test_an_order_is_due_when_it_has_just_become_stuck_and_when_its_age_has_doubled(
    age: float, since: float, expected: bool
) -> None:
    assert is_due(age, since, STUCK) == expected


@pytest.mark.parametrize(("age", "expected"), [(59.9, False), (60, True), (100, True), (1e7, True)])
def test_the_first_sweep_finds_whatever_is_stuck(age: float, expected: bool) -> None:
    assert is_due(age, math.inf, STUCK) == expected


@pytest.mark.parametrize("age", [-5.0, 0.0])
def test_an_order_of_the_future_is_not_due(age: float) -> None:
    assert not is_due(age, math.inf, STUCK)
