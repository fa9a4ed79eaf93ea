import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tasks import Backoff


def highest(_low: float, high: float) -> float:
    return high


def lowest(low: float, _high: float) -> float:
    return low


def test_the_ceiling_doubles_up_to_the_most() -> None:
    backoff = Backoff(0.1, 1.0, draw=highest)
    expected = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert expected == pytest.approx([backoff.next() for _ in expected])


def test_no_wait_is_shorter_than_half_of_the_first() -> None:
    backoff = Backoff(0.1, 1.0, draw=lowest)
    assert {backoff.next() for _ in range(10)} == {0.05}


def test_it_starts_anew_after_a_success() -> None:
    backoff = Backoff(0.1, 1.0, draw=highest)
    first = [backoff.next() for _ in range(4)]
    backoff.reset()
    assert first == [backoff.next() for _ in range(4)]


def test_a_long_outage_does_not_overflow() -> None:
    backoff = Backoff(0.1, 5.0, draw=highest)
    assert [backoff.next() for _ in range(3_000)][-1] == 5.0


@given(st.integers(0, 40))
def test_waits_are_spread_between_the_bounds(tries: int) -> None:
    backoff = Backoff(0.1, 5.0)
    waits = [backoff.next() for _ in range(tries + 8)]
    assert all(0.05 <= wait <= 5.0 for wait in waits)
    assert len(set(waits)) > 1
