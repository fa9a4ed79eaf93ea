import asyncio
import math

import uvloop

from shared import deadline


def test_a_header_is_read_as_milliseconds_and_nonsense_as_no_deadline() -> None:
    valid = {"0": 0.0, "1": 0.001, "0250": 0.25, "999999": 999.999}
    nonsense = (None, "", " ", "-1", "+1", "1.0", "1e3", "0x10", "1000000", "1 ", "1\n", "²", "soon")
    assert {text: deadline.parse(text) for text in valid} == valid
    assert {text for text in nonsense if deadline.parse(text) is not None} == set()


async def test_the_innermost_deadline_applies_and_tasks_that_begin_inside_know_it() -> None:
    async def left() -> float:
        return deadline.left()

    assert deadline.left() == math.inf
    with deadline.until(60):
        with deadline.until(30):
            inner = await asyncio.create_task(left())
        outer = await asyncio.create_task(left())

    assert 20 < inner <= 30
    assert 50 < outer <= 60
    assert deadline.left() == math.inf


async def test_less_than_a_tick_of_the_event_loop_is_no_time() -> None:
    with deadline.until(0.0009):
        assert deadline.left() == 0.0


def test_nothing_is_left_once_the_time_is_over() -> None:
    """The timers of uvloop, which count in milliseconds, fire up to half of one before their time."""
    left = set()

    async def wait(seconds: float) -> None:
        with deadline.until(seconds) as when:
            try:
                async with asyncio.timeout_at(when):
                    await asyncio.Event().wait()
            finally:
                left.add(deadline.left())

    async def wait_often() -> list[object]:
        return await asyncio.gather(*(wait(0.01 + n / 7919) for n in range(200)), return_exceptions=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ends = runner.run(wait_often())

    assert set(map(type, ends)) == {TimeoutError}
    assert left == {0.0}
