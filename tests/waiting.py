"""Waits for a condition instead of for a time."""

import asyncio
import inspect
import time
from collections.abc import Callable

import pytest

_POLL = 0.02


async def eventually(condition: Callable[[], object], within: float = 10.0) -> None:
    """Returns once `condition` (plain or async) is true; fails the test after `within` seconds."""
    await _wait(condition, bool, within)


async def reaches(value: Callable[[], object], expected: object, within: float = 10.0) -> None:
    """Returns once `value` (plain or async) equals `expected`; fails the test after `within` seconds."""
    await _wait(value, lambda found: found == expected, within)


async def _wait(value: Callable[[], object], is_enough: Callable[[object], bool], within: float) -> None:
    deadline = time.monotonic() + within
    while True:
        found = value()
        if inspect.isawaitable(found):
            found = await found
        if is_enough(found):
            return
        if time.monotonic() > deadline:
            pytest.fail(f"still {found!r} after {within:g} s: {inspect.getsource(value).strip()}")
        await asyncio.sleep(_POLL)
