import asyncio
import math
from collections.abc import Callable

import pytest
import uvloop

from shared import deadline
from shared.errors import AppError, Code


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1", 0.001), ("0250", 0.25), ("999999", 999.999)])
def test_milliseconds(text: str, seconds: float) -> None:
    assert seconds == deadline.parse(text)


@pytest.mark.parametrize("text", [None, "", " ", "-1", "+1", "1.0", "1e3", "0x10", "1000000", "1 ", "1\n", "²"])
def test_what_cannot_be_understood_says_nothing(text: str | None) -> None:
    assert deadline.parse(text) is None


async def test_without_a_deadline_time_is_endless() -> None:
    assert deadline.left() == math.inf


async def test_what_is_left_is_the_innermost_deadlines_and_known_to_tasks_that_begin_inside() -> None:
    async with deadline.within(60):
        async with deadline.within(30):
            inner = await asyncio.create_task(_left())
        outer = await asyncio.create_task(_left())

    assert 29 < inner <= 30
    assert 59 < outer <= 60
    assert deadline.left() == math.inf


async def _left() -> float:
    return deadline.left()


async def test_what_takes_too_long_is_cancelled() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    with pytest.raises(AppError) as error:
        async with deadline.within(0.01):
            await task

    assert (error.value.code, task.cancelled()) == (Code.UPSTREAM_TIMEOUT, True)


async def test_no_time_at_all_is_too_little() -> None:
    with pytest.raises(AppError) as error:
        async with deadline.within(0):
            await asyncio.Event().wait()

    assert error.value.code is Code.UPSTREAM_TIMEOUT


async def test_what_goes_wrong_in_time_stays_what_it_is() -> None:
    for wrong in (TimeoutError("another limit"), AppError(Code.NOT_FOUND, "nothing"), KeyError("x")):
        with pytest.raises(type(wrong)) as error:
            async with deadline.within(60):
                raise wrong
        assert error.value is wrong
    assert deadline.left() == math.inf


async def test_who_is_cancelled_from_outside_has_time_left() -> None:
    left = []

    async def wait() -> None:
        async with deadline.within(60):
            try:
                await asyncio.Event().wait()
            finally:
                left.append(deadline.left())

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert 59 < left[0] <= 60


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_nothing_is_left_once_the_time_is_over(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The timers of uvloop, which count in milliseconds, fire up to half a one before their time."""

    left = set()

    async def wait(seconds: float) -> None:
        async with deadline.within(seconds):
            try:
                await asyncio.Event().wait()
            finally:
                left.add(deadline.left())

    async def wait_often() -> list[object]:
        return await asyncio.gather(*(wait(0.01 + n / 7919) for n in range(200)), return_exceptions=True)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        ends = runner.run(wait_often())

    assert {getattr(end, "code", end) for end in ends} == {Code.UPSTREAM_TIMEOUT}
    assert left == {0.0}
