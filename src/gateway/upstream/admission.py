"""Admits requests to one service: a limit of requests in flight, and a queue for those beyond it."""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from gateway import metrics
from shared import deadline
from shared.errors import AppError, Code

# Shares of the limit: what is left of it after a decrease, and what must have been in use for an increase.
_DECREASE = 0.75
_IN_USE = 0.8


class ConcurrencyLimit:
    """How many requests a service is given at once: additive increase, multiplicative decrease (as in RFC 5681).

    It is decided once for every `limit` answers, which is about one round trip. If half of them took longer than
    `target` seconds, the limit falls by a quarter. Otherwise it rises by one, but only if it was nearly used up:
    a sudden load must not meet a limit that was never tried. docs/adr/0012-simpler-overload-limits.md has the figures.
    """

    def __init__(self, *, start: int = 64, least: int = 48, most: int = 128, target: float = 0.125) -> None:
        self._least = least
        self._most = most
        self._target = target
        self._answers = self._late = self._peak = 0
        self.limit = start

    def sample(self, seconds: float, in_flight: int) -> None:
        """A request, one of `in_flight`, was answered after `seconds`."""
        self._answers += 1
        self._late += seconds > self._target
        self._peak = max(self._peak, in_flight)
        if self._answers < self.limit:
            return
        if self._late * 2 >= self._answers:
            self.limit = max(self._least, int(self.limit * _DECREASE))
        elif self._peak >= self.limit * _IN_USE:
            self.limit = min(self._most, self.limit + 1)
        self._answers = self._late = self._peak = 0

    def timed_out(self, seconds: float, in_flight: int) -> None:
        """A request timed out after `seconds`. A deadline shorter than the target says nothing about the service."""
        if seconds > self._target:
            self.sample(seconds, in_flight)


@dataclass(frozen=True, slots=True)
class QueueBounds:
    """How many requests may wait, and for how many seconds each."""

    length: int
    seconds: float


# With the load generator on the same two cores, 1,000 orders/s bring stalls of 300 ms (docs/performance.md).
BURST = QueueBounds(length=512, seconds=0.4)
STANDING = QueueBounds(length=16, seconds=0.02)
# Seconds: longer than a burst lasts, and how long an overload is assumed to go on after the last refusal.
INTERVAL = 0.5


class QueuePolicy:
    """Decides how long one queue may be, from its events; times are monotonic seconds.

    After CoDel (RFC 8289): a queue that becomes empty again and again only smooths bursts, and may be long. A queue
    that has stood for `interval` and overflows is an overload: waiting longer helps no request, so the queue is kept
    just long enough for the service to find its next request there.
    """

    def __init__(
        self, burst: QueueBounds = BURST, standing: QueueBounds = STANDING, interval: float = INTERVAL
    ) -> None:
        self.burst = burst
        self._standing = standing
        self._interval = interval
        self._waiting_since = math.inf
        self._overloaded_until = -math.inf

    def bounds(self, now: float) -> QueueBounds:
        return self._standing if now < self._overloaded_until else self.burst

    def began(self, now: float) -> None:
        """A request joins the empty queue."""
        self._waiting_since = now

    def refused(self, now: float) -> None:
        """A request found no place in the queue, or waited in vain."""
        if now < self._overloaded_until or now - self._waiting_since >= self._interval:
            self._overloaded_until = now + self._interval


class Turn(asyncio.Future[None]):
    """A request that waits for so many slots."""

    def __init__(self, slots: int, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.slots = slots


class Admission:
    """A request that leaves hands its slot on: clients take turns, and the requests of each come in their order."""

    def __init__(
        self,
        service: str,
        limit: ConcurrencyLimit,
        policy: QueuePolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._limit = limit
        self._policy = policy
        self._clock = clock
        self._queues: OrderedDict[str, deque[Turn]] = OrderedDict()
        self.in_flight = 0
        self.waiting = 0

    def refuse_if_full(self, client: str) -> None:
        """Raises AppError UNAVAILABLE if limit and queue leave no room for another request of the client."""
        if self.in_flight >= self._limit.limit:
            now = self._clock()
            if self.waiting >= self._policy.bounds(now).length and self._longer_than(client) is None:
                raise self._refusal(now)

    def acquire(self, client: str, slots: int = 1) -> "Slot":
        """A context that holds slots; entering it raises AppError UNAVAILABLE if they do not come free in time.

        The limit learns how long they were held by a request that was answered or timed out.
        """
        return Slot(self, client, slots)

    async def _acquire(self, client: str, slots: int) -> float:
        """The time of the admission."""
        now = self._clock()
        if not self.waiting and self._has(slots):
            self.in_flight += slots
            return now
        bounds, longer = self._policy.bounds(now), self._longer_than(client)
        if self.waiting >= bounds.length:
            self._push_out(longer, now)
        if not self.waiting:
            self._policy.began(now)
        # An overload is of the clients that want the most: others need not make way for the service's next request.
        wants_most = longer is None and self._length(client) > 0
        seconds = bounds.seconds if wants_most else self._policy.burst.seconds
        try:
            await self._wait(client, slots, min(seconds, deadline.left()))
        except TimeoutError:
            raise self._refusal(self._clock()) from None
        return self._clock()

    def _longer_than(self, client: str) -> str | None:
        """The client with the most requests in the queue, if it has more than `client` would have with another one."""
        longest, greediest = max(((self._length(each), each) for each in self._queues), default=(0, None))
        return greediest if longest > self._length(client) + 1 else None

    def _length(self, client: str) -> int:
        return len(self._queues.get(client, ()))

    def _push_out(self, client: str | None, now: float) -> None:
        """Refuses the last request of the client in the queue; raises the refusal if there is no such client."""
        refusal = self._refusal(now)
        if client is None:
            raise refusal
        turn = self._queues[client][-1]
        self._leave(client, turn)
        if not turn.done():  # its time may just be over
            turn.set_exception(refusal)

    def _refusal(self, now: float) -> AppError:
        self._policy.refused(now)
        metrics.REFUSED.labels("overload").inc()
        return AppError(Code.UNAVAILABLE, f"{self._service} is overloaded")

    async def _wait(self, client: str, slots: int, seconds: float) -> None:
        """Until slots come free: they count as taken at that moment, before this task runs. Raises TimeoutError."""
        turn = Turn(slots, loop=asyncio.get_running_loop())
        self._queues.setdefault(client, deque()).append(turn)
        self.waiting += 1
        async with asyncio.timeout(seconds):
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    if turn.exception() is None:
                        self._release(slots)
                elif turn in self._queues.get(client, ()):
                    self._leave(client, turn)
                raise

    def _leave(self, client: str, turn: Turn) -> None:
        turns = self._queues[client]
        turns.remove(turn)
        self.waiting -= 1
        if not turns:
            del self._queues[client]

    def _has(self, slots: int) -> bool:
        """A request that needs more slots than there are goes alone."""
        return self.in_flight + slots <= self._limit.limit or not self.in_flight

    def _release(self, slots: int) -> None:
        self.in_flight -= slots
        while self.waiting:
            client, turns = next(iter(self._queues.items()))
            turn = turns[0]
            if not self._has(turn.slots):
                return
            self._queues.move_to_end(client)
            self._leave(client, turn)
            if not turn.done():
                self.in_flight += turn.slots
                turn.set_result(None)

    def _sample(self, since: float, slots: int, error: BaseException | None) -> None:
        """An answer or a time-out shows how busy the service is; another failure, or a client that left, does not.

        Of a limit that has no room for another such request everything is in use.
        """
        seconds, in_use = self._clock() - since, self.in_flight + slots - 1
        if error is None:
            self._limit.sample(seconds, in_use)
        elif isinstance(error, TimeoutError) or (isinstance(error, AppError) and error.code is Code.UPSTREAM_TIMEOUT):
            self._limit.timed_out(seconds, in_use)


class Slot:
    """The slots of one request at the service; made by `Admission.acquire`, to be entered once."""

    __slots__ = ("_admission", "_client", "_is_sample", "_since", "_slots")

    def __init__(self, admission: Admission, client: str, slots: int) -> None:
        self._admission = admission
        self._client = client
        self._slots = slots
        self._is_sample = True
        self._since = 0.0

    def discard_sample(self) -> None:
        """Keeps the request's time from the limit, because it does not show how busy the service is."""
        self._is_sample = False

    async def __aenter__(self) -> Self:
        self._since = await self._admission._acquire(self._client, self._slots)
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._is_sample:
            self._admission._sample(self._since, self._slots, error)
        self._admission._release(self._slots)
