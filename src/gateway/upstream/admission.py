"""The door of one service: a place for as many requests as its limit allows, a short queue for a few more."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from gateway.metrics import METRICS
from gateway.upstream.concurrency import ConcurrencyLimit
from gateway.upstream.patience import Patience
from shared import deadline
from shared.errors import AppError, Code


class Admission:
    """First come, first served. Nobody waits while there is room: whoever leaves gives the place on."""

    def __init__(
        self,
        service: str,
        limit: ConcurrencyLimit,
        patience: Patience,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`patience` bounds the queue."""
        self._service = service
        self._limit = limit
        self._patience = patience
        self._clock = clock
        self._queue: deque[asyncio.Future[bool]] = deque()
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def is_busy(self) -> bool:
        """Whether it is worth asking who else is on the way."""
        return self.in_flight * 2 > self._limit.limit

    def refuses(self, expected: int = 0) -> bool:
        """Whether `enter` would refuse at once, with so many more on their way to it; if so it counts as a refusal."""
        free = self._limit.limit - self.in_flight - expected
        if free > 0:
            return False
        now = self._clock()
        full = len(self._queue) - free >= self._patience.bounds(now).places
        if full:
            self._patience.refused(now)
        return full

    def enter(self, seconds_left: Callable[[], float] = deadline.left) -> "Place":
        """A context that holds a place; entering it raises AppError UNAVAILABLE if none comes free in time.

        Its time and its time-outs go to the limit. `Place.forget` keeps from it an answer that tells nothing of load.
        """
        return Place(self, seconds_left)

    async def _take(self, seconds_left: Callable[[], float]) -> float:
        now = self._clock()
        if self.in_flight < self._limit.limit and not self._queue:
            self.in_flight += 1
            return now
        bounds = self._patience.bounds(now)
        if len(self._queue) < bounds.places:
            if await self._wait(min(bounds.seconds, seconds_left())):
                return self._clock()
        else:
            self._patience.refused(now)
        METRICS.refused.labels("overload").inc()
        raise AppError(Code.UNAVAILABLE, f"{self._service} has too much to do", retry_after=1)

    async def _wait(self, seconds: float) -> bool:
        """Whether a place was given; it counts as taken from the moment it is, before the waiter runs."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        if not self._queue:
            self._patience.began(self._clock())
        self._queue.append(turn)
        timer = loop.call_later(seconds, self._give_up, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn in self._queue:
                self._remove(turn)
            elif not turn.cancelled() and turn.result():
                self._leave()
            raise
        finally:
            timer.cancel()

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self._patience.refused(self._clock())
            self._remove(turn)
            turn.set_result(False)

    def _remove(self, turn: asyncio.Future[bool]) -> None:
        self._queue.remove(turn)
        if not self._queue:
            self._patience.ended()

    def _leave(self) -> None:
        self.in_flight -= 1
        while self._queue and self.in_flight < self._limit.limit:
            turn = self._queue.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(True)
            if not self._queue:
                self._patience.ended()

    def _finish(self, since: float, error: BaseException | None) -> None:
        now = self._clock()
        if error is None:
            self._limit.sample(now - since, self.in_flight, now)
        elif _took_too_long(error):
            self._limit.failed(now - since, self.in_flight, now)
        self._leave()


class Place:
    """Of one request, from its admission to its answer; made by `Admission.enter`, to be entered once."""

    __slots__ = ("_admission", "_forgotten", "_seconds_left", "_since")

    def __init__(self, admission: Admission, seconds_left: Callable[[], float]) -> None:
        self._admission = admission
        self._seconds_left = seconds_left
        self._forgotten = False
        self._since = 0.0

    def forget(self) -> None:
        """Its time says nothing of the load: a refusal, for one, comes fast because nothing was done."""
        self._forgotten = True

    async def __aenter__(self) -> Self:
        self._since = await self._admission._take(self._seconds_left)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._forgotten:
            self._admission._leave()
        else:
            self._admission._finish(self._since, error)


def _took_too_long(error: BaseException) -> bool:
    """A client that leaves tells nothing."""
    return isinstance(error, TimeoutError) or (isinstance(error, AppError) and error.code is Code.UPSTREAM_TIMEOUT)
