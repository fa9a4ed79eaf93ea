"""Waits for a condition instead of for a time."""

import asyncio
import inspect
import time
from collections.abc import Callable

import pytest

_POLL = 0.02


async def eventually(condition: Callable[[], object], within: float = 10.0) -> None:
    """Returns once `condition` (plain or async) is true; fails the test after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"still {value!r} after {within:g} s: {inspect.getsource(condition).strip()}")
        await asyncio.sleep(_POLL)
