"""The limit against simulated services (simulation.py), and its rules one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.concurrency import DEFAULTS, ConcurrencyLimit, LimitParameters
from tests.unit.gateway.simulation import Service, Simulation

CAPACITY = Service().capacity
SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])


class Steady:
    """A service that always has `in_use` requests in flight, each of which takes what it is told."""

    def __init__(self, limit: ConcurrencyLimit, in_use: int | None = None) -> None:
        self.limit = limit
        self.in_use = in_use
        self.now = 100.0

    def answer(self, seconds: float, *, windows: int = 1) -> None:
        """Until so many windows, and the pauses between them, are over; with `in_use` None the limit is used up."""
        end = self.now + windows * (0.11 + min(3 * seconds, 1.0))
        while self.now < end:
            self.now += seconds / (self.in_use or self.limit.limit)
            self.limit.sample(seconds, self.in_use or self.limit.limit, self.now)


def tried() -> ConcurrencyLimit:
    """A limit that has seen 10 ms, and begins its next window with the next sample."""
    limit = ConcurrencyLimit()
    for _ in range(10):
        limit.sample(0.01, 20, 100.0)
    assert limit.limit == 64
    return limit


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
def test_latency_that_no_limit_can_mend_is_accepted_after_a_while(seed: int) -> None:
    simulation = Simulation(ConcurrencyLimit(), Service(), seed)
    simulation.run(5, 0.5 * CAPACITY)
    simulation.service = Service(latency=0.2)
    simulation.run(20, 0.5 * CAPACITY)
    assert simulation.run(10, 0.5 * CAPACITY).refused == 0


def test_without_the_limit_the_same_overload_makes_everybody_wait() -> None:
    boundless = ConcurrencyLimit(LimitParameters(start=100_000, least=100_000, most=100_000))
    outcome = Simulation(boundless, Service()).run(10, 3 * CAPACITY)
    assert outcome.refused == 0
    assert outcome.percentile(0.5) > 2.0


def test_a_fast_service_is_given_more_up_to_the_most() -> None:
    steady = Steady(ConcurrencyLimit())
    steady.answer(0.01, windows=20)
    assert steady.limit.limit == DEFAULTS.most


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    steady = Steady(ConcurrencyLimit(), in_use=20)
    steady.answer(0.01, windows=20)
    assert steady.limit.limit == 64


def test_one_full_window_lets_the_limit_grow_once() -> None:
    limit = tried()
    limit.sample(0.01, 512, 100.2)
    for tick in range(1_000):
        limit.sample(0.01, 5, 100.2 + tick / 1_000)
    assert limit.limit == 64 + 64 // 2 + 8


def test_a_window_lasts_until_it_has_its_samples() -> None:
    limit = tried()
    for second in range(9):
        limit.sample(3.0, 20, 100.2 + second)
    assert limit.limit == 64
    limit.sample(3.0, 20, 109.2)
    assert limit.limit == 64 // 2 + 8


def test_a_cut_is_given_a_round_trip_to_take_effect() -> None:
    limit = tried()
    changes = []
    for tick in range(1_000):
        before = limit.limit
        limit.sample(0.4, 20, 100.2 + tick / 1_000)
        if before != limit.limit:
            changes.append(tick / 1_000)
    assert changes == pytest.approx([0.009, 0.009 + 0.4 + 0.1], abs=0.002)


def test_time_outs_bring_the_limit_down_to_the_least() -> None:
    limit = ConcurrencyLimit()
    for tick in range(2_000):
        limit.failed(5.0, 64, tick / 100)
    assert limit.limit == DEFAULTS.least


def test_a_deadline_shorter_than_the_allowed_latency_tells_nothing() -> None:
    limit = ConcurrencyLimit()
    for tick in range(2_000):
        limit.failed(0.001, 64, tick / 100)
    assert limit.limit == 64


def test_time_outs_are_not_taken_for_what_the_service_can_do() -> None:
    steady = Steady(tried())
    while steady.now < 130.0:  # longer than it takes to dip
        steady.now += 0.1
        steady.limit.failed(5.0, steady.limit.limit, steady.now)
    assert steady.limit.limit <= DEFAULTS.least
    steady.answer(0.4, windows=5)
    assert steady.limit.limit == DEFAULTS.least


@pytest.mark.parametrize(("in_use", "dips"), [(None, True), (30, False)])
def test_it_dips_only_while_requests_are_waiting(in_use: int | None, *, dips: bool) -> None:
    steady = Steady(ConcurrencyLimit(LimitParameters(least=64, most=64, dip_after=1.0)), in_use)
    steady.answer(0.02)
    seen = set()
    for _ in range(60):
        steady.answer(0.03)
        seen.add(steady.limit.limit)
    expected = {64, 22} if dips else {64}
    assert expected == seen


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sample", "failed"]),
            st.floats(0, 10),
            st.integers(1, 600),
            st.floats(0, 1),
            st.integers(1, 40),
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_limit_keeps_its_bounds_and_recovers(
    history: list[tuple[str, float, int, float, int]],
) -> None:
    limit = ConcurrencyLimit()
    now = 0.0
    for kind, seconds, in_flight, pause, times in history:
        for _ in range(times):
            now += pause
            getattr(limit, kind)(seconds, in_flight, now)
            assert 5 <= limit.limit <= DEFAULTS.most
    steady = Steady(limit)
    steady.now = now
    for _ in range(60):
        if limit.limit < DEFAULTS.most:
            steady.answer(0.01)
    assert limit.limit == DEFAULTS.most
