import asyncio

import pytest

from shared.errors import AppError, Code
from shared.tasks import BackgroundTasks, repeat


async def fail() -> None:
    raise ValueError("a bug")


async def end() -> None:
    pass


async def test_a_task_that_fails_or_ends_unasked_is_seen_for_ever() -> None:
    async with BackgroundTasks() as tasks:
        await asyncio.wait({tasks.start("relay", fail()), tasks.start("publisher", end())})
        assert tasks.failed == {"relay", "publisher"}
    assert tasks.failed == {"relay", "publisher"}


async def test_one_that_is_cancelled_before_the_end_has_failed() -> None:
    async with BackgroundTasks() as tasks:
        task = tasks.start("forever", asyncio.Event().wait())
        task.cancel()
        await asyncio.wait({task})
        assert tasks.failed == {"forever"}


async def test_what_still_runs_at_the_end_is_cancelled_and_did_not_fail() -> None:
    async with BackgroundTasks() as tasks:
        task = tasks.start("relay", asyncio.Event().wait())
    assert task.cancelled()
    assert tasks.failed == set()


async def test_a_task_may_clean_up_before_the_end() -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await end()
            cleaned.set()

    async with BackgroundTasks() as tasks:
        tasks.start("consumer", run())
        await started.wait()
    assert cleaned.is_set()


async def test_repeated_work_goes_on_after_whatever_went_wrong() -> None:
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


async def test_repeated_work_begins_at_once_and_can_be_ended() -> None:
    times = 0

    async def work() -> None:
        nonlocal times
        times += 1

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await repeat("purge", 60.0, work)
    assert times == 1
