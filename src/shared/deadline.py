"""The time that a request has left, handed on from process to process as `X-Request-Timeout-Ms`."""

import asyncio
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from shared.errors import AppError, Code

HEADER = "X-Request-Timeout-Ms"

_MILLISECONDS = re.compile(r"[0-9]{1,6}")
_current: ContextVar[asyncio.Timeout | None] = ContextVar("deadline", default=None)


def parse(milliseconds: str | None) -> float | None:
    """Seconds; None where nothing is said, or nothing that can be understood."""
    return int(milliseconds) / 1e3 if milliseconds and _MILLISECONDS.fullmatch(milliseconds) else None


def left() -> float:
    """Seconds: infinitely many if there is no deadline, 0 if it has passed."""
    limit = _current.get()
    when = limit.when() if limit else None
    if limit is None or when is None:
        return math.inf
    # uvloop counts in milliseconds, so its timers may fire a fraction of one before their time.
    return 0.0 if limit.expired() else max(0.0, when - asyncio.get_running_loop().time())


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Cancels what is inside when the time is up, and raises AppError UPSTREAM_TIMEOUT."""
    limit = asyncio.timeout(seconds)
    outer = _current.set(limit)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise AppError(Code.UPSTREAM_TIMEOUT, "The request took longer than it may") from error
    finally:
        _current.reset(outer)
