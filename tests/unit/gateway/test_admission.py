"""Waits end by what the test does, or after 0 s; no time passes but the next rounds of the loop."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.admission import Admission, ConcurrencyLimit, QueueBounds, QueuePolicy
from shared.errors import AppError, Code

LONG = 60.0


class Fixed(ConcurrencyLimit):
    """A limit that only the test changes."""

    def sample(self, seconds: float, in_flight: int) -> None:
        pass


def limited(slots: int) -> ConcurrencyLimit:
    return Fixed(start=slots)


def queue(*, length: int = 32, seconds: float = LONG) -> QueuePolicy:
    """The same bounds under an overload."""
    bounds = QueueBounds(length, seconds)
    return QueuePolicy(bounds, bounds)


class Samples(ConcurrencyLimit):
    """A limit that keeps its samples."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, int]] = []

    def sample(self, seconds: float, in_flight: int) -> None:
        self.seen.append((seconds, in_flight))
        super().sample(seconds, in_flight)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Visit:
    """A request that stays until `go` is set."""

    number: int
    order: list[int] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    inside: bool = False

    async def run(self, admission: Admission, seconds_left: float = LONG) -> None:
        async with admission.acquire(lambda: seconds_left):
            self.order.append(self.number)
            self.inside = True
            try:
                await self.go.wait()
            finally:
                self.inside = False


async def settle() -> None:
    """Lets everything happen that does not wait for more."""
    for _ in range(6):
        await asyncio.sleep(0)


async def refusal(admission: Admission, seconds_left: float = LONG) -> AppError:
    with pytest.raises(AppError) as refused:
        async with admission.acquire(lambda: seconds_left):
            pass
    return refused.value


async def test_a_request_beyond_limit_and_queue_is_refused_at_once() -> None:
    admission = Admission("orders", limited(1), queue(length=1))
    admission.refuse_if_full()
    first, second = Visit(1), Visit(2)
    tasks = [asyncio.create_task(visit.run(admission)) for visit in (first, second)]
    await settle()
    assert (admission.in_flight, admission.waiting) == (1, 1)
    with pytest.raises(AppError, match="orders is overloaded"):
        admission.refuse_if_full()
    error = await refusal(admission)
    assert (error.code, error.retry_after) == (Code.UNAVAILABLE, 1)
    first.go.set()
    second.go.set()
    await asyncio.gather(*tasks)
    assert (admission.in_flight, admission.waiting) == (0, 0)
    admission.refuse_if_full()


@pytest.mark.parametrize(("seconds", "seconds_left"), [(0.0, LONG), (LONG, 0.0), (LONG, -1.0)])
async def test_no_request_waits_longer_than_queue_and_deadline_allow(seconds: float, seconds_left: float) -> None:
    admission = Admission("orders", limited(1), queue(seconds=seconds))
    async with admission.acquire(lambda: LONG):
        error = await refusal(admission, seconds_left)
        assert error.code is Code.UNAVAILABLE
        assert admission.waiting == 0
    assert admission.in_flight == 0


async def test_the_first_to_come_is_the_first_to_enter() -> None:
    admission, order = Admission("orders", limited(1), queue()), list[int]()
    visits = [Visit(number, order) for number in range(5)]
    tasks = [asyncio.create_task(visit.run(admission)) for visit in visits]
    await settle()
    assert order == [0]
    for visit in visits:
        visit.go.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


async def test_no_request_overtakes_those_that_wait() -> None:
    limit = limited(1)
    admission, order = Admission("orders", limit, queue()), list[int]()
    visits = [Visit(number, order) for number in range(3)]
    async with admission.acquire(lambda: LONG):
        tasks = [asyncio.create_task(visit.run(admission)) for visit in visits[:2]]
        await settle()
        limit.limit = 2
        tasks.append(asyncio.create_task(visits[2].run(admission)))
        await settle()
    for visit in visits:
        visit.go.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2]


async def test_a_raised_limit_lets_in_as_many_as_fit() -> None:
    limit = limited(1)
    admission, visits = Admission("orders", limit, queue()), [Visit(number) for number in range(4)]
    async with admission.acquire(lambda: LONG):
        tasks = [asyncio.create_task(visit.run(admission)) for visit in visits]
        await settle()
        limit.limit = 3
    await settle()
    assert [visit.inside for visit in visits] == [True, True, True, False]
    for visit in visits:
        visit.go.set()
    await asyncio.gather(*tasks)


async def test_a_lowered_limit_lets_no_request_in_until_enough_have_left() -> None:
    limit = limited(3)
    admission, visits = Admission("orders", limit, queue()), [Visit(number) for number in range(4)]
    tasks = [asyncio.create_task(visit.run(admission)) for visit in visits]
    await settle()
    limit.limit = 1
    for leaving, expected in [(0, False), (1, False), (2, True)]:
        visits[leaving].go.set()
        await settle()
        assert expected == visits[3].inside
    visits[3].go.set()
    await asyncio.gather(*tasks)


async def test_a_waiter_that_is_cancelled_leaves_the_queue() -> None:
    admission = Admission("orders", limited(1), queue(length=1))
    async with admission.acquire(lambda: LONG):
        waiter = asyncio.create_task(Visit(1).run(admission))
        await settle()
        waiter.cancel()
        await asyncio.wait({waiter})
        assert (admission.in_flight, admission.waiting) == (1, 0)


async def test_a_slot_given_to_a_waiter_that_is_cancelled_before_it_runs_is_given_on() -> None:
    admission = Admission("orders", limited(1), queue())
    gone, next_in_line = Visit(1), Visit(2)
    async with admission.acquire(lambda: LONG):
        cancelled, task = (asyncio.create_task(visit.run(admission)) for visit in (gone, next_in_line))
        await settle()
    assert (admission.in_flight, admission.waiting) == (1, 1)
    cancelled.cancel()
    await settle()
    assert cancelled.cancelled()
    assert next_in_line.inside
    next_in_line.go.set()
    await task
    assert admission.in_flight == 0


async def test_a_waiter_cancelled_as_the_slot_comes_free_is_passed_over() -> None:
    admission = Admission("orders", limited(1), queue())
    gone, next_in_line = Visit(1), Visit(2)
    async with admission.acquire(lambda: LONG):
        cancelled, task = (asyncio.create_task(visit.run(admission)) for visit in (gone, next_in_line))
        await settle()
        cancelled.cancel()
    await settle()
    assert cancelled.cancelled()
    assert next_in_line.inside
    next_in_line.go.set()
    await task
    assert admission.in_flight == 0


async def test_the_limit_learns_the_time_inside_but_not_in_the_queue() -> None:
    clock, samples = Clock(), Samples()
    samples.limit = 1
    admission = Admission("orders", samples, queue(), clock=clock)
    visit = Visit(1)
    async with admission.acquire(lambda: LONG):
        task = asyncio.create_task(visit.run(admission))
        await settle()
        clock.now += 3.0
    await settle()
    clock.now += 2.0
    visit.go.set()
    await task
    assert samples.seen == [(3.0, 1), (2.0, 1)]


@pytest.mark.parametrize("error", [TimeoutError(), AppError(Code.UPSTREAM_TIMEOUT, "orders did not answer in time")])
async def test_the_limit_learns_of_a_time_out(error: Exception) -> None:
    clock, samples = Clock(), Samples()
    admission = Admission("orders", samples, queue(), clock=clock)
    slot = admission.acquire(lambda: LONG)
    await slot.__aenter__()
    clock.now += 5.0
    await slot.__aexit__(type(error), error, None)
    assert samples.seen == [(5.0, 1)]
    assert admission.in_flight == 0


@pytest.mark.parametrize(
    "error", [AppError(Code.UNAVAILABLE, "orders cannot be reached"), ValueError(), asyncio.CancelledError()]
)
async def test_what_ends_otherwise_says_nothing_about_the_latency(error: BaseException) -> None:
    samples = Samples()
    admission = Admission("orders", samples, queue())
    with pytest.raises(type(error)):
        async with admission.acquire(lambda: LONG):
            raise error
    assert samples.seen == []
    assert admission.in_flight == 0


async def test_a_discarded_sample_changes_nothing_and_the_slot_comes_free() -> None:
    samples = Samples()
    admission = Admission("orders", samples, queue())
    async with admission.acquire(lambda: LONG) as slot:
        slot.discard_sample()
    assert samples.seen == []
    assert admission.in_flight == 0


async def test_while_there_is_room_acquiring_does_not_suspend() -> None:
    admission = Admission("orders", limited(1), queue())
    entering = admission.acquire(lambda: LONG).__aenter__()
    with pytest.raises(StopIteration):
        entering.send(None)
    assert admission.in_flight == 1


ACTIONS = st.one_of(
    st.just(("enter", 0)),
    st.just(("enter in vain", 0)),
    st.just(("settle", 0)),
    st.tuples(st.just("leave"), st.integers(0, 7)),
    st.tuples(st.just("cancel"), st.integers(0, 7)),
    st.tuples(st.just("limit"), st.integers(1, 4)),
)


@given(st.lists(ACTIONS, max_size=50))
async def test_in_any_order_of_events_no_slot_is_lost_or_given_twice(actions: list[tuple[str, int]]) -> None:
    limit = limited(2)
    admission, order = Admission("orders", limit, queue(length=3)), list[int]()
    visits: dict[asyncio.Task[None], Visit] = {}
    steady = all(action != "limit" for action, _ in actions)  # a limit raised from outside wakes no task
    for action, number in [*actions, ("settle", 0)]:
        here = [task for task in visits if not task.done()]
        if action.startswith("enter"):
            visit = Visit(len(visits), order)
            seconds_left = LONG if action == "enter" else 0.0
            visits[asyncio.create_task(visit.run(admission, seconds_left))] = visit
        elif action == "leave" and here:
            visits[here[number % len(here)]].go.set()
        elif action == "cancel" and here:
            here[number % len(here)].cancel()
        elif action == "limit":
            limit.limit = number
        elif action == "settle":
            await settle()
            assert admission.in_flight == sum(visit.inside for visit in visits.values())
            assert admission.waiting <= 3
            queued = [visit.number for task, visit in visits.items() if not task.done() and not visit.inside]
            assert len(queued) == admission.waiting
            assert max(order, default=-1) < min(queued, default=len(visits))
            if steady:
                assert admission.waiting == 0 or admission.in_flight == limit.limit
    for visit in visits.values():
        visit.go.set()
    await asyncio.wait_for(asyncio.gather(*visits, return_exceptions=True), 5)
    assert (admission.in_flight, admission.waiting) == (0, 0)
