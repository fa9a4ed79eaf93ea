"""The limit of requests in flight: its rules one by one, and against simulated services (simulation.py)."""

import pytest

from gateway.upstream.admission import ConcurrencyLimit
from tests.unit.gateway.simulation import Service, Simulation

CAPACITY = Service().capacity
LEAST, START, MOST = 48, 64, 128
FAST, SLOW = 0.125, 0.126
SEEDS = pytest.mark.parametrize("seed", [1, 2])


def after(start: int, *, late: int, in_flight: int, answers: int | None = None, rounds: int = 1) -> int:
    """The limit after so many rounds of as many answers as it says, the first `late` of which are slow.

    `in_flight` is the peak of a round, which comes first.
    """
    limit = ConcurrencyLimit(start=start)
    for _ in range(rounds):
        for number in range(answers or limit.limit):
            limit.sample(SLOW if number < late else FAST, 1 if number else in_flight)
    return limit.limit


@pytest.mark.parametrize(
    ("start", "late", "in_flight", "expected"),
    [
        (START, 0, 52, START + 1),
        (START, 0, 51, START),  # less than four fifths of it were in use
        (START, 31, START, START + 1),
        (START, 32, START, LEAST),  # half of the answers decide
        (START, 32, 1, LEAST),
        (100, 100, 100, 75),
        (MOST, 0, MOST, MOST),
        (LEAST, LEAST, LEAST, LEAST),
    ],
)
def test_a_limits_worth_of_answers_moves_it(start: int, late: int, in_flight: int, expected: int) -> None:
    assert expected == after(start, late=late, in_flight=in_flight)
    assert start == after(start, late=late, in_flight=in_flight, answers=start - 1)


def test_each_round_counts_for_itself() -> None:
    assert after(START, late=0, in_flight=MOST, rounds=10) == START + 10
    limit = ConcurrencyLimit()
    for seconds, in_flight in ((SLOW, START), (FAST, START), (FAST, START), (FAST, 1)):
        for _ in range(limit.limit):
            limit.sample(seconds, in_flight)
    assert limit.limit == LEAST + 2


@pytest.mark.parametrize(("seconds", "expected"), [(SLOW, LEAST), (FAST, START)])
def test_a_time_out_is_a_slow_answer_unless_its_deadline_was_shorter_than_the_target(
    seconds: float, expected: int
) -> None:
    limit = ConcurrencyLimit()
    for _ in range(1_000):
        limit.timed_out(seconds, START)
    assert expected == limit.limit


@SEEDS
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_up_to_the_capacity_nothing_is_refused(share: float, seed: int) -> None:
    simulation = Simulation(ConcurrencyLimit(), Service(), seed)
    simulation.run(5, 0.5 * CAPACITY)
    outcome = simulation.run(10, share * CAPACITY)
    assert outcome.refused <= outcome.arrived / 1_000
    assert outcome.p95 < 0.1


@SEEDS
def test_at_three_times_the_capacity_goodput_holds_and_waiting_is_bounded(seed: int) -> None:
    simulation = Simulation(ConcurrencyLimit(), Service(), seed)
    simulation.run(5, 0.5 * CAPACITY)
    outcome = simulation.run(10, 3 * CAPACITY)
    assert len(outcome.latencies) >= 0.95 * 10 * CAPACITY
    assert outcome.p95 < 0.2


@SEEDS
def test_a_service_that_slows_down_gets_what_it_can_do_and_all_again_when_it_recovers(seed: int) -> None:
    simulation = Simulation(ConcurrencyLimit(), Service(), seed)
    simulation.run(5, 0.9 * CAPACITY)
    simulation.service = Service(fixed=0.012, each=0.0022)
    simulation.run(2, 0.9 * CAPACITY)
    slow = simulation.run(10, 0.9 * CAPACITY)
    assert len(slow.latencies) >= 0.8 * 10 * simulation.service.capacity
    assert slow.p95 < 0.25
    simulation.service = Service()
    simulation.run(2, 0.9 * CAPACITY)
    assert simulation.run(5, 0.9 * CAPACITY).refused == 0
