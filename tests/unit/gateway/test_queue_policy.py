from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.admission import QueueBounds, QueuePolicy

BURST = QueueBounds(length=100, seconds=1.0)
STANDING = QueueBounds(length=3, seconds=0.01)
INTERVAL = 0.5


def policy() -> QueuePolicy:
    return QueuePolicy(BURST, STANDING, INTERVAL)


def overloaded(since: float) -> QueuePolicy:
    queue = policy()
    queue.began(since - INTERVAL)
    queue.refused(since)
    return queue


def test_a_burst_may_fill_the_queue_and_overflow() -> None:
    queue = policy()
    queue.began(10.0)
    queue.refused(10.4)
    assert queue.bounds(10.4) == BURST


def test_a_queue_that_stands_and_overflows_is_cut_short() -> None:
    queue = policy()
    queue.began(10.0)
    assert queue.bounds(10.5) == BURST
    queue.refused(10.5)
    assert queue.bounds(10.5) == STANDING


def test_a_queue_that_was_empty_in_between_does_not_stand() -> None:
    queue = policy()
    queue.began(10.0)
    queue.began(10.4)
    queue.refused(10.6)
    assert queue.bounds(10.6) == BURST


def test_an_empty_queue_is_no_sign_that_an_overload_is_over() -> None:
    queue = overloaded(since=10.0)
    queue.began(10.3)
    assert queue.bounds(10.4) == STANDING


def test_each_refusal_prolongs_an_overload() -> None:
    queue = overloaded(since=10.0)
    queue.refused(10.4)
    assert queue.bounds(10.8) == STANDING


def test_an_interval_without_a_refusal_ends_it() -> None:
    queue = overloaded(since=10.0)
    assert queue.bounds(10.5) == BURST


@given(st.lists(st.sampled_from(["began", "refused"])), st.floats(0.01, 0.1))
def test_without_a_refusal_in_the_last_interval_there_is_no_overload(events: list[str], step: float) -> None:
    queue, now, last = policy(), 100.0, -1.0
    for event in events:
        now += step
        if event == "began":
            queue.began(now)
        else:
            queue.refused(now)
            last = now
        if queue.bounds(now) == STANDING:
            assert now - last < INTERVAL
