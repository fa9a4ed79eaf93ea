import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.breaker import REFUSED, Breaker, FailureWindow, Permit, State

# Answers as (time, whether they are good, how many).
Steps = list[tuple[float, bool, int]]
OPENED: Steps = [(0.0, False, 20)]
RECOVERED: Steps = [*OPENED, (1.0, True, 3)]


def after(steps: Steps) -> Breaker:
    """A breaker that lets all these requests through and gets their answers."""
    breaker = Breaker()
    for now, ok, times in steps:
        for _ in range(times):
            permit = breaker.permit(now)
            assert permit is not REFUSED
            breaker.record(permit, ok, now)
    return breaker


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0.0, False, 19)], State.CLOSED),  # too few requests
        ([(0.0, False, 20)], State.OPEN),
        ([(0.0, True, 11), (0.0, False, 10)], State.CLOSED),  # below half
        ([(0.0, True, 11), (0.0, False, 11)], State.OPEN),
        ([(0.0, False, 19), (0.0, True, 1)], State.CLOSED),  # a good answer opens nothing
        ([(0.0, False, 19), (10.0, False, 19)], State.CLOSED),  # the window has passed
        ([(0.0, False, 19), (9.9, False, 1)], State.OPEN),
        ([*OPENED, (1.0, True, 2)], State.HALF_OPEN),
        ([*OPENED, (1.0, True, 2), (1.0, False, 1)], State.OPEN),
        ([*OPENED, (1.0, True, 2), (1.0, False, 1), (3.0, True, 2)], State.HALF_OPEN),  # probes count anew
        (RECOVERED, State.RECOVERING),
        ([*RECOVERED, (5.9, True, 1)], State.RECOVERING),
        ([*RECOVERED, (6.0, True, 1)], State.CLOSED),
        ([*RECOVERED, (6.0, False, 19)], State.CLOSED),  # earlier failures are forgotten
        ([*RECOVERED, (6.0, False, 20)], State.OPEN),
    ],
)
def test_a_breaker_opens_probes_and_recovers(steps: Steps, expected: State) -> None:
    assert expected is after(steps).state


def test_an_open_breaker_refuses_until_its_time_is_over_and_says_when() -> None:
    breaker = after([(100.0, False, 20)])
    assert breaker.permit(100.9) is REFUSED
    assert (breaker.retry_after(100.25), breaker.retry_after(101.5)) == (0.75, 0.0)
    assert breaker.permit(101.0)
    assert breaker.state is State.HALF_OPEN


@pytest.mark.parametrize(
    ("steps", "now", "expected"),
    [
        ([], 5.0, 0.0),
        ([(0.0, False, 19)], 0.0, 0.0),
        ([*OPENED, (1.0, True, 1)], 1.0, 1.0),
        (RECOVERED, 1.0, 1.0),
        ([*RECOVERED, (6.0, True, 1)], 6.0, 0.0),
        ([*RECOVERED, (6.0, False, 20)], 6.0, 1.0),  # closed in between, so the time is the first again
    ],
)
def test_a_refused_request_may_be_tried_again_after(steps: Steps, now: float, expected: float) -> None:
    assert expected == after(steps).retry_after(now)


def test_the_open_time_doubles_while_probes_fail_up_to_the_longest() -> None:
    breaker, now, expected = after(OPENED), 0.0, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    waits = []
    for _ in expected:
        waits.append(breaker.retry_after(now))
        now += waits[-1]
        breaker.record(breaker.permit(now), False, now)
    assert expected == waits


def test_too_many_failures_while_recovering_open_it_for_longer() -> None:
    breaker, failures, now = after(RECOVERED), 0, 1.0
    while breaker.state is State.RECOVERING and now < 3.0:
        now += 0.001
        permit = breaker.permit(now)
        breaker.record(permit, False, now)
        failures += permit is not REFUSED
    assert (breaker.state, failures, breaker.retry_after(now)) == (State.OPEN, 20, 2.0)


def test_no_more_than_three_probes_go_out_and_a_discarded_one_gives_its_place_back() -> None:
    breaker = after(OPENED)
    probes = [breaker.permit(1.0) for _ in range(4)]
    assert [bool(probe) for probe in probes] == [True, True, True, False]
    breaker.discard(probes[0])
    assert [bool(breaker.permit(1.0)) for _ in range(2)] == [True, False]


def test_lost_probes_block_it_for_ten_seconds_after_the_last_and_come_back_in_vain() -> None:
    breaker = after(OPENED)
    lost = [breaker.permit(now) for now in (1.0, 1.0, 3.0)]
    assert breaker.permit(12.9) is REFUSED
    assert breaker.permit(13.0)
    breaker.record(lost[0], False, 13.0)
    breaker.discard(lost[1])
    assert breaker.state is State.HALF_OPEN
    assert [bool(breaker.permit(13.0)) for _ in range(3)] == [True, True, False]


def test_a_request_of_before_it_opened_is_no_probe() -> None:
    breaker = Breaker()
    slow = [breaker.permit(0.0) for _ in range(2)]
    for _ in range(20):
        breaker.record(breaker.permit(0.0), False, 0.0)
    probe = breaker.permit(1.0)
    breaker.record(slow[0], False, 1.0)
    breaker.discard(slow[1])
    assert breaker.state is State.HALF_OPEN
    breaker.record(probe, True, 1.0)
    assert [bool(breaker.permit(1.0)) for _ in range(3)] == [True, True, False]


def test_a_request_of_the_ramp_still_counts_once_it_is_closed() -> None:
    breaker = after(RECOVERED)
    slow = breaker.permit(1.0)
    for _ in range(19):
        breaker.record(breaker.permit(6.0), False, 6.0)
    breaker.record(slow, False, 6.0)
    assert breaker.state is State.OPEN


def test_a_refusal_that_is_recorded_changes_nothing() -> None:
    breaker = after(OPENED)
    for _ in range(100):
        breaker.record(REFUSED, True, 1.0)
    assert breaker.state is State.OPEN


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=300))
def test_the_ramp_admits_its_share_evenly(pauses: list[float]) -> None:
    breaker, now, due, admitted = after(RECOVERED), 1.0, 1.0, 0
    for pause in pauses:
        now += pause
        if now >= 6.0:
            break
        due += max(0.1, (now - 1.0) / 5.0)
        admitted += breaker.permit(now) is not REFUSED
        assert due - 1.0 - 1e-6 <= admitted <= due + 1e-6


def test_while_it_recovers_an_address_that_is_hurried_takes_what_comes() -> None:
    breaker = after(RECOVERED)
    assert [bool(breaker.permit(1.0)) for _ in range(3)] == [True, False, False]
    assert all(breaker.permit(1.0, hurried=True) for _ in range(3))
    assert not after(OPENED).permit(0.5, hurried=True)


@given(st.lists(st.tuples(st.floats(0, 15), st.booleans()), max_size=60))
def test_the_window_counts_what_its_two_halves_cover(answers: list[tuple[float, bool]]) -> None:
    window, seen, now = FailureWindow(5.0), [], 0.0
    for pause, ok in answers:
        now += pause
        window.add(ok, now)
        seen.append((int(now / 5), ok))
        covered = [ok for number, ok in seen if number > int(now / 5) - 2]
        assert (len(covered), covered.count(False)) == window.totals()


def test_a_clock_that_another_task_read_earlier_loses_no_answer() -> None:
    window = FailureWindow(5.0)
    for now in (5.0, 4.9, 5.0):
        window.add(False, now)
    assert window.totals() == (3, 3)


EVENTS = st.tuples(
    st.sampled_from(["ask", "good", "bad", "discard", "lose"]),
    st.sampled_from([1, 3, 20]),
    st.sampled_from([0.0, 0.5, 1.0, 5.0, 10.0, 30.0]),
)


@given(st.lists(EVENTS, max_size=60))
def test_after_any_events_an_address_that_is_well_gets_all_its_load(events: list[tuple[str, int, float]]) -> None:
    breaker, now, out = Breaker(), 1_000.0, list[Permit]()
    for event, times, pause in events:
        now += pause
        for _ in range(times):
            if event == "ask":
                out.append(breaker.permit(now))
            elif out:
                permit = out.pop()
                if event == "discard":
                    breaker.discard(permit)
                elif event != "lose":
                    breaker.record(permit, event == "good", now)
    end = now + 30.0 + 10.0 + 5.0 + 1.0
    while breaker.state is not State.CLOSED and now < end:
        breaker.record(breaker.permit(now), True, now)
        now += 0.1
    assert breaker.state is State.CLOSED
