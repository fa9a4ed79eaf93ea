"""The limit of requests in flight against simulated services (simulation.py), and its rules one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.admission import ConcurrencyLimit
from tests.unit.gateway.simulation import Service, Simulation

CAPACITY = Service().capacity
SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])
LEAST, START, MOST = 48, 64, 128
FAST, SLOW = 0.12, 0.13


def answer(limit: ConcurrencyLimit, seconds: float, *, rounds: int = 1, in_flight: int | None = None) -> None:
    """So many times as many answers as the limit; the limit is used up unless `in_flight` says less."""
    for _ in range(rounds):
        for _ in range(limit.limit):
            limit.sample(seconds, limit.limit if in_flight is None else in_flight)


@SEEDS
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_below_capacity_nothing_is_refused(share: float, seed: int) -> None:
    outcome = Simulation(ConcurrencyLimit(), Service(), seed).run(20, share * CAPACITY)
    assert outcome.refused == 0


@SEEDS
def test_at_capacity_nothing_is_refused_however_long_it_lasts(seed: int) -> None:
    simulation = Simulation(ConcurrencyLimit(), Service(), seed)
    simulation.run(10, 0.5 * CAPACITY)
    outcome = simulation.run(30, CAPACITY)
    assert outcome.refused <= outcome.arrived / 1_000
    assert outcome.percentile(0.95) < 0.1


@SEEDS
@pytest.mark.parametrize("before", [0.05, 0.5, 1.0])
def test_at_three_times_the_capacity_goodput_holds_and_waiting_is_bounded(before: float, seed: int) -> None:
    simulation = Simulation(ConcurrencyLimit(), Service(), seed)
    simulation.run(5, before * CAPACITY)
    outcome = simulation.run(10, 3 * CAPACITY)
    assert len(outcome.latencies) >= 0.95 * 10 * CAPACITY
    assert outcome.percentile(0.95) < 0.2


def test_an_overload_that_lasts_for_minutes_does_not_pass_for_normal() -> None:
    simulation = Simulation(ConcurrencyLimit(), Service())
    simulation.run(120, 3 * CAPACITY)
    outcome = simulation.run(20, 3 * CAPACITY)
    assert len(outcome.latencies) >= 0.95 * 20 * CAPACITY
    assert outcome.percentile(0.95) < 0.25


@SEEDS
def test_a_service_that_slows_down_gets_what_it_can_do_and_all_again_when_it_recovers(seed: int) -> None:
    simulation = Simulation(ConcurrencyLimit(), Service(), seed)
    simulation.run(5, 0.9 * CAPACITY)
    simulation.service = Service(fixed=0.012, each=0.0022)
    simulation.run(2, 0.9 * CAPACITY)
    slow = simulation.run(20, 0.9 * CAPACITY)
    assert len(slow.latencies) >= 0.8 * 20 * simulation.service.capacity
    assert slow.percentile(0.95) < 0.25
    simulation.service = Service()
    simulation.run(2, 0.9 * CAPACITY)
    assert simulation.run(10, 0.9 * CAPACITY).refused == 0


@SEEDS
def test_without_bounds_the_limit_settles_where_latency_meets_the_target(seed: int) -> None:
    simulation = Simulation(ConcurrencyLimit(least=1, most=100_000), Service(latency=0.04), seed)
    simulation.run(30, 3 * CAPACITY)
    outcome = simulation.run(10, 3 * CAPACITY)
    assert 100 < min(outcome.limits) < max(outcome.limits) < 240
    assert outcome.percentile(0.95) < 0.2


@SEEDS
def test_latency_that_no_limit_can_mend_costs_no_more_than_the_fall_to_the_least(seed: int) -> None:
    simulation = Simulation(ConcurrencyLimit(), Service(latency=0.2), seed)
    outcome = simulation.run(10, 0.5 * CAPACITY)
    assert len(outcome.latencies) >= 0.9 * 10 * LEAST / 0.22


def test_without_the_limit_the_same_overload_makes_all_requests_wait() -> None:
    boundless = ConcurrencyLimit(start=100_000, least=100_000, most=100_000)
    outcome = Simulation(boundless, Service()).run(10, 3 * CAPACITY)
    assert outcome.refused == 0
    assert outcome.percentile(0.5) > 2.0


def test_a_fast_service_is_given_more_up_to_the_most() -> None:
    limit = ConcurrencyLimit()
    answer(limit, FAST)
    assert limit.limit == START + 1
    answer(limit, FAST, rounds=100)
    assert limit.limit == MOST


def test_a_slow_service_is_given_less_down_to_the_least() -> None:
    limit = ConcurrencyLimit(start=100)
    answer(limit, SLOW)
    assert limit.limit == 75
    answer(limit, SLOW, rounds=10)
    assert limit.limit == LEAST


@pytest.mark.parametrize(("in_flight", "expected"), [(51, START), (52, START + 1)])
def test_only_a_limit_that_is_nearly_used_up_grows(in_flight: int, expected: int) -> None:
    limit = ConcurrencyLimit()
    answer(limit, FAST, in_flight=in_flight)
    assert expected == limit.limit


@pytest.mark.parametrize(("late", "expected"), [(31, START + 1), (32, LEAST)])
def test_half_of_the_answers_decide(late: int, expected: int) -> None:
    """A few requests that always take long must not lower the limit of all others."""
    limit = ConcurrencyLimit()
    for number in range(START):
        assert limit.limit == START
        limit.sample(SLOW if number < late else FAST, START)
    assert expected == limit.limit


def test_time_outs_bring_the_limit_down_to_the_least() -> None:
    limit = ConcurrencyLimit()
    for _ in range(1_000):
        limit.timed_out(5.0, START)
    assert limit.limit == LEAST


def test_a_deadline_shorter_than_the_target_says_nothing() -> None:
    limit = ConcurrencyLimit()
    for _ in range(1_000):
        limit.timed_out(FAST, START)
    assert limit.limit == START


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sample", "timed_out"]), st.floats(0, 10), st.integers(1, 600), st.integers(1, 200)
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_limit_keeps_its_bounds_and_recovers(history: list[tuple[str, float, int, int]]) -> None:
    limit = ConcurrencyLimit()
    for kind, seconds, in_flight, times in history:
        for _ in range(times):
            getattr(limit, kind)(seconds, in_flight)
            assert LEAST <= limit.limit <= MOST
    answer(limit, FAST, rounds=MOST)
    assert limit.limit == MOST
