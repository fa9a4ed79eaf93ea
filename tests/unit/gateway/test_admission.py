"""Waits end by what the test does, or after 0 s; no time passes but the next rounds of the loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.admission import Admission, ConcurrencyLimit, QueueBounds, QueuePolicy
from shared import deadline
from shared.errors import AppError, Code

LONG = 60.0
BURST = QueueBounds(length=100, seconds=1.0)
STANDING = QueueBounds(length=3, seconds=0.01)


class Samples(ConcurrencyLimit):
    """A limit that only the test changes; it keeps its samples."""

    def __init__(self, slots: int = 1) -> None:
        super().__init__(start=slots)
        self.seen: list[tuple[float, int]] = []

    def sample(self, seconds: float, in_flight: int) -> None:
        self.seen.append((seconds, in_flight))


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def of(limit: ConcurrencyLimit, *, length: int = 32, seconds: float = LONG, clock: Clock | None = None) -> Admission:
    bounds = QueueBounds(length, seconds)
    return Admission("orders", limit, QueuePolicy(bounds, bounds), clock=clock or Clock())


@dataclass(eq=False)
class Visit:
    """A request that stays until `go` is set."""

    number: int
    order: list[int] = field(default_factory=list)
    client: str = "one"
    slots: int = 1
    go: asyncio.Event = field(default_factory=asyncio.Event)
    inside: bool = False

    async def run(self, admission: Admission, seconds_left: float = LONG) -> None:
        with deadline.until(seconds_left):
            await self._stay(admission)

    async def _stay(self, admission: Admission) -> None:
        async with admission.acquire(self.client, self.slots):
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


@asynccontextmanager
async def visiting(admission: Admission, visits: Sequence[Visit]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """At the end all leave, and none has left anything behind."""
    tasks = [asyncio.create_task(visit.run(admission)) for visit in visits]
    await settle()
    yield tasks
    for visit in visits:
        visit.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (admission.in_flight, admission.waiting) == (0, 0)


async def refusal(admission: Admission, seconds_left: float = LONG) -> tuple[Code, int | None]:
    with deadline.until(seconds_left), pytest.raises(AppError, match="orders is overloaded") as refused:
        async with admission.acquire("one"):
            pass
    return refused.value.code, refused.value.retry_after


async def test_a_request_beyond_limit_and_queue_is_refused_at_once() -> None:
    admission = of(Samples(1), length=1)
    admission.refuse_if_full("one")
    async with visiting(admission, [Visit(1), Visit(2)]):
        assert (admission.in_flight, admission.waiting) == (1, 1)
        with pytest.raises(AppError, match="orders is overloaded"):
            admission.refuse_if_full("one")
        assert await refusal(admission) == (Code.UNAVAILABLE, 1)
    admission.refuse_if_full("one")


async def test_clients_take_turns_and_the_requests_of_each_keep_their_order() -> None:
    order: list[int] = []
    visits = [Visit(number, order, client) for number, client in enumerate("aaaabbc")]
    async with visiting(of(Samples(1)), visits):
        for visit in sorted(visits, key=lambda each: "0142635".index(str(each.number))):
            visit.go.set()
            await settle()
    assert order == [0, 1, 4, 6, 2, 5, 3]


async def test_in_a_full_queue_a_client_gets_the_place_of_another_that_has_more_than_its_share() -> None:
    admission = of(Samples(1), length=4)
    visits = [Visit(number, client=client) for number, client in enumerate("aaaaa")]
    async with visiting(admission, visits) as tasks:
        for number, (client, pushed_out) in enumerate((("b", 4), ("b", 3)), 5):
            admission.refuse_if_full(client)
            visits.append(Visit(number, client=client))
            tasks.append(asyncio.create_task(visits[-1].run(admission)))
            await settle()
            with pytest.raises(AppError, match="orders is overloaded"):
                await tasks[pushed_out]
        for client in "ab":  # each has half of it
            with pytest.raises(AppError, match="orders is overloaded"):
                admission.refuse_if_full(client)
        assert admission.waiting == 4


async def test_a_request_whose_time_is_just_over_is_pushed_out_too() -> None:
    admission = of(Samples(1), length=2)
    visits = [Visit(0), Visit(1), Visit(2), other := Visit(3, client="two")]
    async with visiting(admission, visits[:3]) as tasks:
        tasks.append(asyncio.create_task(other.run(admission)))
        tasks[2].cancel()  # before the other comes, but what it holds is given back only after that
        await settle()
        assert (admission.waiting, tasks[3].done()) == (2, False)
        other.go.set()


@pytest.mark.parametrize(("seconds", "seconds_left"), [(0.0, LONG), (LONG, 0.0), (LONG, -1.0)])
async def test_no_request_waits_longer_than_queue_and_deadline_allow(seconds: float, seconds_left: float) -> None:
    admission = of(Samples(1), seconds=seconds)
    async with visiting(admission, [Visit(1)]):
        assert await refusal(admission, seconds_left) == (Code.UNAVAILABLE, 1)
        assert admission.waiting == 0


@pytest.mark.parametrize(
    ("start", "changed", "leaving", "expected"),
    [
        (1, 3, 1, [False, True, True, True, False]),  # a raised limit lets in as many as fit
        (3, 1, 1, [False, True, True, False, False]),
        (3, 1, 2, [False, False, True, False, False]),
        (3, 1, 3, [False, False, False, True, False]),  # a lowered one, no request until enough have left
    ],
)
async def test_those_that_leave_let_in_as_many_as_the_limit_allows(
    start: int, changed: int, leaving: int, expected: list[bool]
) -> None:
    limit, visits = Samples(start), [Visit(number) for number in range(5)]
    async with visiting(of(limit), visits):
        limit.limit = changed
        for visit in visits[:leaving]:
            visit.go.set()
        await settle()
        assert expected == [visit.inside for visit in visits]


@pytest.mark.parametrize("cancelled_first", [False, True])
async def test_a_waiter_that_is_cancelled_as_its_slot_comes_free_gives_it_to_the_next(cancelled_first: bool) -> None:
    admission, gone, next_in_line = of(Samples(1)), Visit(1), Visit(2)
    slot = await admission.acquire("one").__aenter__()
    async with visiting(admission, [gone, next_in_line]) as tasks:
        if cancelled_first:
            tasks[0].cancel()
        await slot.__aexit__(None, None, None)
        assert (admission.in_flight, admission.waiting) == (1, 0 if cancelled_first else 1)
        tasks[0].cancel()
        await settle()
        assert (tasks[0].cancelled(), gone.order, next_in_line.inside) == (True, [], True)


async def test_the_limit_learns_the_time_inside_but_not_in_the_queue() -> None:
    clock, limit = Clock(), Samples(1)
    first, second = visits = Visit(1), Visit(2)
    async with visiting(of(limit, clock=clock), visits):
        for visit, seconds in ((first, 3.0), (second, 2.0)):
            clock.now += seconds
            visit.go.set()
            await settle()
    assert limit.seen == [(3.0, 1), (2.0, 1)]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, [(5.0, 1)]),
        (TimeoutError(), [(5.0, 1)]),
        (AppError(Code.UPSTREAM_TIMEOUT, "orders did not answer in time"), [(5.0, 1)]),
        (AppError(Code.UNAVAILABLE, "orders cannot be reached"), []),
        (ValueError(), []),
        (asyncio.CancelledError(), []),
    ],
)
@pytest.mark.parametrize("discarded", [False, True])
async def test_an_answer_or_a_time_out_shows_the_latency_unless_it_is_discarded(
    error: BaseException | None, expected: list[tuple[float, int]], discarded: bool
) -> None:
    clock, limit = Clock(), Samples(1)
    admission = of(limit, clock=clock)
    slot = admission.acquire("one")
    await slot.__aenter__()
    clock.now += 5.0
    if discarded:
        slot.discard_sample()
    await slot.__aexit__(type(error), error, None)
    assert limit.seen == ([] if discarded else expected)
    assert admission.in_flight == 0


async def test_a_request_of_many_slots_waits_for_all_of_them_and_those_behind_it_wait_too() -> None:
    limit = Samples(10)
    admission = of(limit)
    first, large, behind = Visit(1), Visit(2, slots=10), Visit(3)
    async with visiting(admission, [first, large, behind]):
        seen = [(first.inside, large.inside, behind.inside)]
        for visit in (first, large):
            visit.go.set()
            await settle()
            seen.append((large.inside, behind.inside, admission.in_flight == 10))
    assert seen == [(True, False, False), (True, False, True), (False, True, False)]
    assert [in_use for _, in_use in limit.seen] == [1, 19, 1]


async def test_a_request_of_more_slots_than_the_limit_goes_alone() -> None:
    large, other = Visit(1, slots=5), Visit(2)
    async with visiting(of(Samples(3)), [large, other]):
        assert (large.inside, other.inside) == (True, False)


async def test_while_there_is_room_acquiring_does_not_suspend() -> None:
    admission = of(Samples(1))
    entering = admission.acquire("one").__aenter__()
    with pytest.raises(StopIteration):
        entering.send(None)
    assert admission.in_flight == 1


ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["enter", "enter in vain"]), st.integers(0, 1)),
    st.just(("settle", 0)),
    st.tuples(st.just("leave"), st.integers(0, 7)),
    st.tuples(st.just("cancel"), st.integers(0, 7)),
    st.tuples(st.just("limit"), st.integers(1, 4)),
)


@given(st.lists(ACTIONS, max_size=50))
async def test_in_any_order_of_events_no_slot_is_lost_or_given_twice(actions: list[tuple[str, int]]) -> None:
    limit = Samples(2)
    admission, order = of(limit, length=3), list[int]()
    visits: dict[asyncio.Task[None], Visit] = {}
    clients: list[str] = []
    steady = all(action != "limit" for action, _ in actions)  # a limit raised from outside wakes no task
    for action, number in [*actions, ("settle", 0)]:
        here = [task for task in visits if not task.done()]
        if action.startswith("enter"):
            visit = Visit(len(visits), order, "ab"[number])
            clients.append(visit.client)
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
            queued = [visit for task, visit in visits.items() if not task.done() and not visit.inside]
            assert len(queued) == admission.waiting <= 3
            for visit in queued:
                assert all(number < visit.number for number in order if clients[number] == visit.client)
            assert not steady or admission.waiting == 0 or admission.in_flight == limit.limit
    for visit in visits.values():
        visit.go.set()
    await asyncio.wait_for(asyncio.gather(*visits, return_exceptions=True), 5)
    assert (admission.in_flight, admission.waiting) == (0, 0)


# A policy's events are "began" (a request joins the empty queue) and "refused", each at its time.
BEGAN, REFUSED = QueuePolicy.began, QueuePolicy.refused


@pytest.mark.parametrize(
    ("events", "now", "expected"),
    [
        ([], 10.0, BURST),
        ([(BEGAN, 10.0)], 20.0, BURST),  # a queue that stands but overflows for no request
        ([(REFUSED, 10.0)], 10.0, BURST),
        ([(BEGAN, 10.0), (REFUSED, 10.4)], 10.4, BURST),  # a burst may fill the queue
        ([(BEGAN, 10.0), (REFUSED, 10.5)], 10.5, STANDING),
        ([(BEGAN, 10.0), (BEGAN, 10.4), (REFUSED, 10.6)], 10.6, BURST),  # it was empty in between
        ([(BEGAN, 9.5), (REFUSED, 10.0), (BEGAN, 10.3)], 10.4, STANDING),  # an empty queue ends no overload
        ([(BEGAN, 9.5), (REFUSED, 10.0)], 10.5, BURST),  # an interval without a refusal does
        ([(BEGAN, 9.5), (REFUSED, 10.0), (BEGAN, 10.3), (REFUSED, 10.4)], 10.8, STANDING),
    ],
)
def test_a_queue_that_stands_and_overflows_is_cut_short(
    events: list[tuple[Callable[[QueuePolicy, float], None], float]], now: float, expected: QueueBounds
) -> None:
    policy = QueuePolicy(BURST, STANDING, 0.5)
    for event, when in events:
        event(policy, when)
    assert expected == policy.bounds(now)


async def test_an_admission_whose_queue_stands_and_refuses_cuts_it_short() -> None:
    clock = Clock()
    admission = Admission("orders", Samples(1), QueuePolicy(BURST, QueueBounds(1, LONG)), clock=clock)
    async with visiting(admission, [Visit(1), Visit(2)]):
        for seconds in (0.4, 0.1):
            admission.refuse_if_full("one")
            clock.now += seconds
            await refusal(admission, seconds_left=0.0)
        with pytest.raises(AppError, match="orders is overloaded"):
            admission.refuse_if_full("one")


async def test_in_an_overload_only_the_clients_that_want_the_most_have_less_time_to_wait() -> None:
    clock = Clock()
    admission = Admission("orders", Samples(1), QueuePolicy(BURST, QueueBounds(9, 0.0)), clock=clock)
    visits = [Visit(number) for number in range(4)]
    async with visiting(admission, visits):
        clock.now += 1.0
        await refusal(admission, seconds_left=0.0)
        assert await refusal(admission) == (Code.UNAVAILABLE, 1)  # at once, since the queue is that of an overload
        visits.append(other := Visit(4, client="two"))
        tasks = [asyncio.create_task(other.run(admission))]
        await settle()
        assert (tasks[0].done(), admission.waiting) == (False, 4)
        for visit in visits:
            visit.go.set()
        await asyncio.gather(*tasks)


def test_the_bounds_are_those_of_the_documents() -> None:
    policy = QueuePolicy()
    burst = policy.bounds(10.0)
    policy.began(10.0)
    policy.refused(10.5)
    bounds = [burst, policy.bounds(10.5), policy.bounds(10.9), policy.bounds(11.0)]
    assert bounds == [QueueBounds(512, 0.4), QueueBounds(16, 0.02), QueueBounds(16, 0.02), QueueBounds(512, 0.4)]
