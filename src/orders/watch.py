"""Wakes those who wait for an order: at once for a change in this process, every second for one in another."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from orders import repository
from shared.db import Database
from shared.errors import AppError, Code

# Of the requests that the process takes on, so that the others are not kept out by those who wait.
_MOST = 500


class Watch:
    """`closed` once the process stops: whoever waits then answers with what is known."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._count = 0
        self.closed = False

    @contextmanager
    def on(self, order_id: int) -> Iterator[asyncio.Event]:
        """Set whenever the order may have changed. Raises AppError UNAVAILABLE if too many wait."""
        if self._count >= _MOST:
            raise AppError(Code.UNAVAILABLE, "Too many clients wait for orders")
        woken = asyncio.Event()
        self._count += 1
        self._waiting.setdefault(order_id, set()).add(woken)
        try:
            yield woken
        finally:
            self._count -= 1
            self._waiting[order_id].discard(woken)
            if not self._waiting[order_id]:
                del self._waiting[order_id]

    def wake(self, order_ids: Iterable[int]) -> None:
        """Call after the commit that changed the orders."""
        for order_id in order_ids:
            for woken in self._waiting.get(order_id, ()):
                woken.set()

    async def poll(self) -> None:
        """Finds what another process has changed: with several replicas, the consumer may be in any of them."""
        waiting: Sequence[int] = list(self._waiting)
        if waiting:
            async with self._database.connection() as connection:
                self.wake(await repository.final(connection, waiting))

    def close(self) -> None:
        self.closed = True
        self.wake(list(self._waiting))
