"""Flushes are held and released by hand; tasks begin in the order in which they were made, so no test waits."""

import asyncio
from collections.abc import Sequence

import pytest

from shared import tracing
from shared.batching import Batcher, pause_after
from shared.errors import AppError, Code


class Writes:
    """A flush that notes its batches and answers ten times each item; held until `go` is set."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.failures: dict[int, Exception] = {}
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def flush(self, items: list[int]) -> Sequence[int]:
        self.batches.append(items)
        self.began.set()
        await self.go.wait()
        if items[0] in self.failures:
            raise self.failures[items[0]]
        return [item * 10 for item in items]


async def submit_behind_the_first(
    batcher: Batcher[int, int], writes: Writes, *items: int, given_up: int | None = None
) -> list[int | BaseException]:
    """What becomes of 1, flushed alone, and of `items` that arrive during its flush; the caller of one may give up."""
    first = asyncio.create_task(batcher.submit(1))
    await writes.began.wait()
    behind = {item: asyncio.create_task(batcher.submit(item)) for item in items}
    loop = asyncio.get_running_loop()
    if given_up:
        loop.call_soon(behind[given_up].cancel)
    loop.call_soon(writes.go.set)
    return await asyncio.gather(first, *behind.values(), return_exceptions=True)


async def pass_time() -> None:
    """Long enough for a flush that nothing keeps back."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_item_that_finds_nothing_running_is_flushed_at_once_and_alone() -> None:
    writes = Writes()
    batcher = Batcher(writes.flush)
    assert [await batcher.submit(1), await batcher.submit(2)] == [10, 20]
    assert writes.batches == [[1], [2]]


async def test_items_that_arrive_during_a_flush_share_the_next_up_to_its_most() -> None:
    for most, expected in ((256, [[1], [2, 3, 4, 5, 6]]), (2, [[1], [2, 3], [4, 5], [6]])):
        writes = Writes(held=True)
        results = await submit_behind_the_first(Batcher(writes.flush, most=most), writes, 2, 3, 4, 5, 6)
        assert results == [10, 20, 30, 40, 50, 60]
        assert writes.batches == expected


async def test_past_the_bound_an_item_is_refused_at_once() -> None:
    writes = Writes(held=True)
    *taken, refused = await submit_behind_the_first(Batcher(writes.flush, waiting=2), writes, 2, 3, 4)
    assert taken == [10, 20, 30]
    assert isinstance(refused, AppError)
    assert refused.code is Code.UNAVAILABLE
    assert writes.batches == [[1], [2, 3]]


async def test_an_item_whose_caller_gave_up_is_not_flushed() -> None:
    writes = Writes(held=True)
    first, given_up, patient = await submit_behind_the_first(Batcher(writes.flush), writes, 2, 3, given_up=2)
    assert isinstance(given_up, asyncio.CancelledError)
    assert writes.batches == [[1], [3]]
    assert (first, patient) == (10, 30)


@pytest.mark.parametrize("failure", [None, ValueError("a bad batch")])
async def test_a_caller_that_gives_up_during_the_flush_changes_nothing_for_others(failure: Exception | None) -> None:
    async def flush(items: list[int]) -> Sequence[int]:
        given_up.cancel()
        if failure:
            raise failure
        return [item * 10 for item in items]

    batcher = Batcher(flush)
    first, given_up, last = (asyncio.create_task(batcher.submit(item)) for item in (1, 2, 3))
    found = await asyncio.gather(first, last, return_exceptions=True)
    assert given_up.cancelled()
    assert list(found) == [failure or 10, failure or 30]


async def test_a_failing_flush_reaches_all_of_its_batch_and_no_other_item() -> None:
    writes = Writes(held=True)
    writes.failures = {2: ValueError("a bad batch")}
    batcher = Batcher(writes.flush, most=2)
    results = await submit_behind_the_first(batcher, writes, 2, 3, 4)
    assert results == [10, writes.failures[2], writes.failures[2], 40]
    assert await batcher.submit(5) == 50


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.OUTCOME_UNKNOWN])
async def test_an_outage_reaches_those_who_wait_behind_it_too_who_know_that_they_were_not_sent(code: Code) -> None:
    writes = Writes(held=True)
    outage = AppError(code)
    writes.failures = {1: outage}
    batcher = Batcher(writes.flush)
    first, *behind = await submit_behind_the_first(batcher, writes, 2, 3)
    assert first is outage
    assert [isinstance(each, AppError) and (each.code, each.__cause__) for each in behind] == [
        (Code.UNAVAILABLE, outage)
    ] * 2
    assert await batcher.submit(4) == 40
    assert writes.batches == [[1], [4]]


async def test_a_flush_with_too_few_results_fails_instead_of_leaving_a_caller_waiting() -> None:
    async def flush(_items: list[int]) -> Sequence[int]:
        return []

    with pytest.raises(ValueError, match="shorter"):
        await Batcher(flush).submit(1)


async def test_a_flush_belongs_to_no_single_request() -> None:
    async def flush(items: list[int]) -> Sequence[tracing.Trace | None]:
        return [tracing.current.get() for _ in items]

    token = tracing.current.set(tracing.begin())
    try:
        assert await Batcher(flush).submit(1) is None
    finally:
        tracing.current.reset(token)


@pytest.mark.parametrize(
    ("shared", "expected"), [(True, [[0, 1], [2, 3]]), (False, [[1], [2], [3]])], ids=["shared", "alone"]
)
async def test_after_a_shared_flush_the_next_waits_for_more_items(shared: bool, expected: list[list[int]]) -> None:
    writes = Writes(held=True)
    batcher = Batcher(writes.flush, spacing=10.0)
    first = asyncio.gather(*map(batcher.submit, (0, 1) if shared else (1,)))
    asyncio.get_running_loop().call_later(0.2, writes.go.set)  # the pause is as long as that
    await first
    second = asyncio.ensure_future(batcher.submit(2))
    await pass_time()
    await asyncio.gather(second, batcher.submit(3))
    assert writes.batches == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 0.0), (0.01, 0.01), (0.03, 0.02), (0.05, 0.0), (9.0, 0.0)])
def test_the_pause_is_as_long_as_the_flush_but_ends_at_the_latest_when_the_spacing_does(
    seconds: float, expected: float
) -> None:
    assert pause_after(seconds, 0.05) == pytest.approx(expected)
