"""Shares the cost of a write: items that arrive while one flush runs share the next one.

An item that arrives when no flush runs is flushed at once, alone, but for the pause that follows a shared flush.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from shared import spans
from shared.errors import AppError, Code

Item = TypeVar("Item")
Result = TypeVar("Result")

_OUTAGES = frozenset({Code.UNAVAILABLE, Code.OUTCOME_UNKNOWN})


def pause_after(seconds: float, most: float) -> float:
    """The pause after a flush of so many seconds: as long again, but no longer than until `most` after its start.

    Where the machine has time a flush is short, and there small batches cost nothing; on a full machine it takes long,
    and the longer pause makes the batches that save CPU.
    """
    return max(0.0, min(seconds, most - seconds))


class Batcher(Generic[Item, Result]):
    """Calls `flush` with 1 to `most` items, one call at a time; it returns one result for each, in order.

    `flush` must have a time limit: an item waits for the flush that runs and for its own. A flush that fails because
    a server is down (UNAVAILABLE, OUTCOME_UNKNOWN) also fails the items that wait, with UNAVAILABLE, since they were
    not sent; so an outage costs each caller one limit. A flush that several callers shared is followed by a pause, so
    that more share the next one (`pause_after`, with `spacing`). The queue holds `waiting` items; beyond that,
    UNAVAILABLE is raised. An item whose caller gave up before its flush began is not flushed. The wait for a
    result is shown as a `span` of the database `system`.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        most: int = 256,
        waiting: int = 10_000,
        spacing: float = 0.0,
        span: str = "flush",
        system: str = "postgresql",
    ) -> None:
        self._flush = flush
        self._most = most
        self._bound = waiting
        self._spacing = spacing
        self._span = span, {"db.system.name": system, "db.operation.name": span.split(maxsplit=1)[0]}
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._flusher: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Raises what `flush` raised for the batch that the item was in."""
        if len(self._waiting) >= self._bound:
            raise AppError(Code.UNAVAILABLE, "Too many writes are waiting")
        if self._flusher is None:
            # In an empty context, because neither the flush nor its log lines belong to one request.
            self._flusher = asyncio.create_task(self._run(), name="batch flusher", context=Context())
        # The task knows the event loop; `get_running_loop` asks the kernel for the process id first.
        future: asyncio.Future[Result] = self._flusher.get_loop().create_future()
        self._waiting.append((item, future))
        with spans.recorder.span(*self._span):
            return await future

    async def _run(self) -> None:
        try:
            while batch := self._next_batch():
                started = time.monotonic()
                await self._flush_batch([item for item, _ in batch], [future for _, future in batch])
                if len(batch) > 1:
                    await asyncio.sleep(pause_after(time.monotonic() - started, self._spacing))
        finally:
            self._flusher = None

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._most:
            entry = self._waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        return batch

    async def _flush_batch(self, items: list[Item], futures: list[asyncio.Future[Result]]) -> None:
        try:
            results = await self._flush(items)
            for future, result in zip(futures, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except Exception as error:  # noqa: BLE001  # every caller of the batch receives it
            _fail(futures, error)
            if isinstance(error, AppError) and error.code in _OUTAGES:
                refusal = AppError(Code.UNAVAILABLE)
                refusal.__cause__ = error
                _fail([future for _, future in self._waiting], refusal)
                self._waiting.clear()


def _fail(futures: Iterable[asyncio.Future[Result]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
