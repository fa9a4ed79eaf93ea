import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.upstream.breaker import DEFAULTS, REFUSED, Breaker, BreakerParameters, FailureWindow, Permit, State

ALLOWED = {
    (State.CLOSED, State.OPEN),
    (State.OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, State.OPEN),
    (State.HALF_OPEN, State.RECOVERING),
    (State.RECOVERING, State.OPEN),
    (State.RECOVERING, State.CLOSED),
}


def answer(breaker: Breaker, now: float, *, ok: bool, times: int = 1) -> None:
    for _ in range(times):
        permit = breaker.permit(now)
        assert permit is not REFUSED
        breaker.record(permit, ok, now)


def is_in(breaker: Breaker, state: State) -> bool:
    return breaker.state is state


def opened(now: float = 0.0, parameters: BreakerParameters = DEFAULTS) -> Breaker:
    breaker = Breaker(parameters)
    answer(breaker, now, ok=False, times=parameters.least_requests)
    assert is_in(breaker, State.OPEN)
    return breaker


def recovering(now: float) -> Breaker:
    breaker = opened(now - 1.0)
    answer(breaker, now, ok=True, times=3)
    assert is_in(breaker, State.RECOVERING)
    return breaker


def test_fewer_failures_than_the_least_requests_open_nothing() -> None:
    breaker = Breaker()
    answer(breaker, 0.0, ok=False, times=19)
    assert is_in(breaker, State.CLOSED)


def test_it_opens_at_the_failure_rate_and_not_below() -> None:
    breaker = Breaker()
    answer(breaker, 0.0, ok=True, times=11)
    answer(breaker, 0.0, ok=False, times=10)
    assert is_in(breaker, State.CLOSED)
    answer(breaker, 0.0, ok=False)
    assert is_in(breaker, State.OPEN)


def test_failures_are_forgotten_with_the_window() -> None:
    breaker = Breaker()
    answer(breaker, 0.0, ok=False, times=19)
    answer(breaker, 10.0, ok=False, times=19)
    assert is_in(breaker, State.CLOSED)


def test_an_open_one_refuses_until_its_time_is_over_and_says_when() -> None:
    breaker = opened(100.0)
    assert breaker.permit(100.9) is REFUSED
    assert breaker.retry_after(100.25) == 0.75
    assert breaker.permit(101.0)
    assert is_in(breaker, State.HALF_OPEN)


def test_a_closed_one_asks_no_client_to_wait() -> None:
    assert Breaker().retry_after(5.0) == 0.0


def test_the_open_time_doubles_while_probes_fail_up_to_the_longest() -> None:
    breaker, now, expected = opened(), 0.0, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    waits = []
    for _ in expected:
        waits.append(breaker.retry_after(now))
        now += waits[-1]
        answer(breaker, now, ok=False)
    assert expected == waits


def test_the_open_time_is_the_first_again_after_it_was_closed() -> None:
    breaker = recovering(1.0)
    answer(breaker, 6.0, ok=False, times=20)
    assert is_in(breaker, State.OPEN)
    assert breaker.retry_after(6.0) == 1.0


def test_too_many_failures_while_recovering_open_it_for_longer() -> None:
    breaker = recovering(1.0)
    failures = 0
    for tick in range(2_000):
        now = 1.0 + tick / 1_000
        permit = breaker.permit(now)
        breaker.record(permit, False, now)
        failures += permit is not REFUSED
        if is_in(breaker, State.OPEN):
            break
    assert failures == 20
    assert breaker.retry_after(now) == 2.0


def test_no_more_probes_go_out_than_it_may_and_a_discarded_one_gives_its_place_back() -> None:
    breaker = opened()
    probes = [breaker.permit(1.0) for _ in range(4)]
    assert [bool(probe) for probe in probes] == [True, True, True, False]
    assert breaker.retry_after(1.0) == 1.0
    breaker.discard(probes[0])
    assert breaker.permit(1.0)
    assert breaker.permit(1.0) is REFUSED


def test_a_lost_probe_blocks_it_no_longer_than_its_time_and_comes_back_in_vain() -> None:
    breaker = opened()
    lost = [breaker.permit(1.0) for _ in range(3)]
    assert breaker.permit(10.9) is REFUSED
    assert breaker.permit(11.0)
    breaker.record(lost[0], False, 11.0)
    breaker.discard(lost[1])
    assert is_in(breaker, State.HALF_OPEN)
    assert [bool(breaker.permit(11.0)) for _ in range(3)] == [True, True, False]


def test_a_time_out_of_before_it_opened_is_no_failed_probe() -> None:
    breaker = Breaker()
    slow = breaker.permit(0.0)
    answer(breaker, 0.0, ok=False, times=20)
    probe = breaker.permit(1.0)
    breaker.record(slow, False, 1.0)
    assert is_in(breaker, State.HALF_OPEN)
    breaker.record(probe, True, 1.0)
    answer(breaker, 1.0, ok=True, times=2)
    assert is_in(breaker, State.RECOVERING)


def test_what_the_ramp_let_through_still_counts_once_it_is_closed() -> None:
    breaker = recovering(1.0)
    slow = breaker.permit(1.0)
    answer(breaker, 6.0, ok=False, times=19)
    breaker.record(slow, False, 6.0)
    assert is_in(breaker, State.OPEN)


def test_a_refusal_that_is_recorded_changes_nothing() -> None:
    breaker = opened()
    for _ in range(100):
        breaker.record(REFUSED, True, 1.0)
    assert is_in(breaker, State.OPEN)


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=300))
def test_the_ramp_admits_its_share_evenly(pauses: list[float]) -> None:
    breaker, now, due, admitted = recovering(1.0), 1.0, 1.0, 0
    for pause in pauses:
        now += pause
        if now >= 6.0:
            break
        due += max(0.1, (now - 1.0) / 5.0)
        admitted += breaker.permit(now) is not REFUSED
        assert due - 1.0 - 1e-6 <= admitted <= due + 1e-6


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


class BreakerMachine(RuleBasedStateMachine):
    """Any order of requests, answers and losses, against the rules written in the plainest way."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 1_000.0
        self.state = State.CLOSED
        self.out: list[Permit] = []  # of the present state, or round of probes
        self.lost: list[Permit] = []  # as above, but no outcome comes before it is over
        self.stale: list[Permit] = []  # of what was before
        self.answers: list[tuple[int, bool]] = []
        self.good_probes = 0
        self.last_probe = 0.0
        self.open_until = 0.0
        self.next_open = 1.0

    @rule(seconds=st.floats(0, 2) | st.sampled_from([1.0, 5.0, 10.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(times=st.sampled_from([1, 2, 3, 20, 30]))
    def ask(self, times: int) -> None:
        for _ in range(times):
            before = self.state
            permit = self.breaker.permit(self.now)
            self.follow()
            if before is State.OPEN:
                assert bool(permit) == (self.now >= self.open_until)
            elif before is State.CLOSED:
                assert permit
            if self.state is State.HALF_OPEN:
                self.probe(permit)
            if permit:
                self.out.append(permit)

    def probe(self, permit: Permit) -> None:
        sent = len(self.out) + len(self.lost) + self.good_probes
        if not permit:
            assert sent == 3
            assert self.now < self.last_probe + 10.0
            return
        if sent == 3:
            assert self.now >= self.last_probe + 10.0
            self.begin_anew()
        self.last_probe = self.now

    @precondition(lambda self: self.out)
    @rule(ok=st.booleans(), times=st.sampled_from([1, 3, 30]))
    def record(self, ok: bool, times: int) -> None:
        for _ in range(min(times, len(self.out))):
            self.breaker.record(self.out.pop(), ok, self.now)
            assert self.expected(ok) is self.breaker.state
            self.follow()
            if not self.out:
                return

    @precondition(lambda self: self.out)
    @rule()
    def discard(self) -> None:
        self.breaker.discard(self.out.pop())

    @precondition(lambda self: self.out)
    @rule()
    def lose(self) -> None:
        self.lost.append(self.out.pop())

    @precondition(lambda self: self.stale)
    @rule(ok=st.booleans())
    def come_back_late(self, ok: bool) -> None:
        permit = self.stale.pop()
        self.breaker.record(permit, ok, self.now)
        self.breaker.discard(permit)

    @invariant()
    def nothing_else_changes_the_state(self) -> None:
        assert self.breaker.state is self.state

    def expected(self, ok: bool) -> State:
        """The state after an answer, which is noted."""
        if self.state is State.HALF_OPEN:
            self.good_probes += ok
            recovers = self.good_probes == 3
            return (State.RECOVERING if recovers else self.state) if ok else State.OPEN
        self.answers.append((int(self.now / 5), ok))
        return State.OPEN if not ok and self.fails_too_often() else self.state

    def fails_too_often(self) -> bool:
        covered = [ok for number, ok in self.answers if number > int(self.now / 5) - 2]
        return len(covered) >= 20 and covered.count(False) * 2 >= len(covered)

    def follow(self) -> None:
        """Notes a change of state, which has to be one that may be."""
        before, self.state = self.state, self.breaker.state
        if before is self.state:
            return
        assert (before, self.state) in ALLOWED
        if self.state is State.CLOSED:
            self.next_open = 1.0
            return
        self.begin_anew()
        if self.state is State.OPEN:
            self.open_until, self.next_open = self.now + self.next_open, min(30.0, self.next_open * 2)

    def begin_anew(self) -> None:
        self.stale += self.out + self.lost
        self.out, self.lost, self.answers, self.good_probes = [], [], [], 0

    def teardown(self) -> None:
        """Whatever was lost, an address that is well again gets all of its load again."""
        deadline = self.now + 30.0 + 10.0 + 5.0 + 1.0
        while self.breaker.state is not State.CLOSED and self.now < deadline:
            self.breaker.record(self.breaker.permit(self.now), True, self.now)
            self.now += 0.1
        assert self.breaker.state is State.CLOSED


TestBreakerMachine = BreakerMachine.TestCase


@pytest.mark.parametrize("state", State)
def test_states_are_what_the_metrics_call_them(state: State) -> None:
    assert state.value == state.name.lower()
