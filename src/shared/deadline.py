"""The time that a request has left, passed from process to process as `X-Request-Timeout-Ms`."""

import math
import re
import time
from contextvars import ContextVar

from multidict import istr

HEADER = istr("X-Request-Timeout-Ms")

_MILLISECONDS = re.compile(r"[0-9]{1,6}")
_current: ContextVar[float] = ContextVar("deadline", default=math.inf)
# uvloop counts whole milliseconds, so its timers may fire up to one early.
_TICK = 0.001


def parse(milliseconds: str | None) -> float | None:
    """Seconds; None if the header is missing or malformed."""
    return int(milliseconds) / 1e3 if milliseconds and _MILLISECONDS.fullmatch(milliseconds) else None


def left() -> float:
    """Seconds; infinity without a deadline, 0 if it has passed."""
    when = _current.get()
    if when == math.inf:
        return math.inf
    seconds = when - time.monotonic()
    return seconds if seconds > _TICK else 0.0


class until:  # noqa: N801  # used as a statement, as asyncio.timeout is
    """Sets a deadline that many seconds from now; the waits inside must observe it.

    A timer here would cost as much as the rest of a request's way through the layers, and every wait has one anyway.
    """

    __slots__ = ("_outer", "when")

    def __init__(self, seconds: float) -> None:
        self.when = time.monotonic() + seconds  # the clock of the event loop too

    def __enter__(self) -> float:
        self._outer = _current.set(self.when)
        return self.when

    def __exit__(self, *_error: object) -> None:
        _current.reset(self._outer)
