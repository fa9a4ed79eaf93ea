"""Wakes requests that wait for an order: at once if this process changes it, within a second if another does."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orders import repository
from shared.db import Database
from shared.errors import AppError, Code

# Less than the requests that the process handles at once, so that waiting ones leave room for others.
_MAX_WAITING = 500


class Watch:
    """`closed` once the process stops: requests that wait then answer with what is known."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._count = 0
        self._seen: dict[int, str] = {}  # the status of each order at the last poll
        self.closed = False

    @contextmanager
    def on(self, order_id: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever the order may have changed. Raises AppError UNAVAILABLE if too many wait."""
        if self._count >= _MAX_WAITING:
            raise AppError(Code.UNAVAILABLE, "Too many clients wait for orders")
        changed = asyncio.Event()
        self._count += 1
        self._waiting.setdefault(order_id, set()).add(changed)
        try:
            yield changed
        finally:
            self._count -= 1
            self._waiting[order_id].discard(changed)
            if not self._waiting[order_id]:
                del self._waiting[order_id]

    def wake(self, order_ids: Iterable[int]) -> None:
        """Must be called after the commit that changed the orders."""
        for order_id in order_ids:
            for changed in self._waiting.get(order_id, ()):
                changed.set()

    async def poll(self) -> None:
        """Finds orders that another replica has changed, because its consumer got the verdict."""
        if self._waiting:
            async with self._database.connection() as connection:
                found = await repository.statuses(connection, list(self._waiting))
            self.wake([order_id for order_id, status in found.items() if self._seen.get(order_id) != status])
            self._seen = found

    def close(self) -> None:
        self.closed = True
        self.wake(list(self._waiting))
