import asyncio
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import AppError, Code
from shared.tasks import BackgroundTasks, backoff, repeat


async def fail() -> None:
    raise ValueError("a bug")


async def end() -> None:
    pass


async def test_a_task_that_ends_before_its_time_has_failed_and_ends_the_process() -> None:
    async with BackgroundTasks() as tasks:
        assert not tasks.stop.is_set()
        cancelled = tasks.start("watch", asyncio.Event().wait())
        cancelled.cancel()
        await asyncio.wait({tasks.start("relay", fail()), tasks.start("publisher", end()), cancelled})
        assert (tasks.failed, tasks.stop.is_set()) == ({"relay", "publisher", "watch"}, True)
    assert tasks.failed == {"relay", "publisher", "watch"}


async def test_a_task_that_still_runs_at_the_end_is_cancelled_and_cleans_up() -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    async with BackgroundTasks() as tasks:
        task = tasks.start("consumer", run())
        await started.wait()
    assert cleaned.is_set()
    assert task.cancelled()
    assert tasks.failed == set()


async def test_repeated_work_goes_on_after_any_failure() -> None:
    failures = [AppError(Code.UNAVAILABLE, "The database did not answer"), ValueError("a bug"), None]
    done = asyncio.Event()

    async def work() -> None:
        failure = failures.pop(0)
        if failure:
            raise failure
        done.set()

    async with BackgroundTasks() as tasks, asyncio.timeout(10):
        tasks.start("purge", repeat("purge", 0.001, work))
        await done.wait()
    assert tasks.failed == set()


async def test_repeated_work_begins_at_once_and_then_pauses() -> None:
    times = 0

    async def work() -> None:
        nonlocal times
        times += 1

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await repeat("purge", 60.0, work)
    assert times == 1


def test_the_ceiling_of_a_backoff_doubles_up_to_the_most() -> None:
    pauses = backoff(0.1, 1.0, draw=lambda _low, high: high)
    expected = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert expected == pytest.approx(list(islice(pauses, len(expected))))


def test_no_wait_is_shorter_than_half_of_the_first() -> None:
    assert set(islice(backoff(0.1, 1.0, draw=lambda low, _high: low), 10)) == {0.05}


@given(st.integers(8, 48))
def test_waits_are_spread_between_the_bounds(tries: int) -> None:
    waits = list(islice(backoff(0.1, 5.0), tries))
    assert all(0.05 <= wait <= 5.0 for wait in waits)
    assert len(set(waits)) > 1
