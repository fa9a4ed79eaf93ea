import asyncio

from shared.tasks import BackgroundTasks


async def fail() -> None:
    raise ValueError("a bug")


async def end() -> None:
    pass


async def test_a_task_that_fails_or_ends_unasked_is_seen_for_ever() -> None:
    async with BackgroundTasks() as tasks:
        await asyncio.wait({tasks.start("relay", fail()), tasks.start("publisher", end())})
        assert tasks.failed == {"relay", "publisher"}
    assert tasks.failed == {"relay", "publisher"}


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
