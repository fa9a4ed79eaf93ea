import pytest

from gateway.upstream.admission import ConcurrencyLimit

LEAST, START, MOST = 48, 64, 128
FAST, SLOW = 0.125, 0.126


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
def test_a_time_out_is_a_slow_answer_unless_its_deadline_was_short(seconds: float, expected: int) -> None:
    limit = ConcurrencyLimit()
    for _ in range(1_000):
        limit.timed_out(seconds, START)
    assert expected == limit.limit
