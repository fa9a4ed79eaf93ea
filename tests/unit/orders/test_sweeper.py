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


@given(st.sets(st.integers(0, 1_000_000), min_size=1), st.integers(1, 1_000))
def test_an_order_is_due_at_each_sweep_that_passed_a_threshold(ages: set[int], stuck_after: int) -> None:
    sweeps = sorted(ages)
    since = [math.inf, *(age - before for before, age in pairwise(sweeps))]
    expected = [thresholds(before, age, stuck_after) > 0 for before, age in pairwise([-1, *sweeps])]
    assert expected == [is_due(age, passed, stuck_after) for age, passed in zip(sweeps, since, strict=True)]


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
        # The first sweep finds every order that is stuck, and no order whose time lies in the future.
        (-5.0, math.inf, False),
        (0.0, math.inf, False),
        (59.9, math.inf, False),
        (60, math.inf, True),
        (100, math.inf, True),
        (1e7, math.inf, True),
    ],
)
def test_an_order_is_due_when_stuck_and_when_its_age_has_doubled(age: float, since: float, expected: bool) -> None:
    assert is_due(age, since, STUCK) == expected
