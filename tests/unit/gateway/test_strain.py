from hypothesis import given
from hypothesis import strategies as st

from gateway.strain import DEFAULTS, Strain

LATE, IN_TIME = 2 * DEFAULTS.tolerated, DEFAULTS.tolerated / 2
WAKE = 0.01


def after(lags: list[float]) -> Strain:
    """One window of each lag."""
    strain = Strain()
    wakes = round(DEFAULTS.window / WAKE) + 1
    for number in range(len(lags) * wakes):
        strain.observe(lags[number // wakes], number * WAKE)
    return strain


def refused(strain: Strain, requests: int) -> int:
    return sum(strain.refuses() for _ in range(requests))


def test_nothing_is_refused_while_the_loop_keeps_up() -> None:
    assert refused(after([IN_TIME] * 20), 1_000) == 0


def test_a_burst_passes() -> None:
    strain = Strain()
    for number in range(1_000):
        strain.observe(IN_TIME if number % 5 == 0 else 0.2, number * WAKE)
    assert refused(strain, 1_000) == 0


def test_a_standing_queue_has_more_and_more_refused_but_never_all() -> None:
    shares = [after([LATE] * windows).share for windows in (1, 5, 10, 100)]
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == DEFAULTS.most


def test_when_the_loop_keeps_up_again_everybody_is_let_in_again() -> None:
    assert after([LATE] * 50 + [IN_TIME] * 60).share == 0


@given(st.lists(st.sampled_from([LATE, IN_TIME]), max_size=60))
def test_the_share_is_what_is_refused(lags: list[float]) -> None:
    strain = after(lags)
    assert abs(refused(strain, 1_000) - 1_000 * strain.share) <= 1
