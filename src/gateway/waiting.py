"""Requests that take their time by intention: when the process stops, nobody waits for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Waiting:
    """Those under way; once closed, each is let go at once."""

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()
        self._closed = False

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """Raises TimeoutError as soon as the process stops, and at no other time."""
        async with asyncio.timeout(0 if self._closed else None) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    def close(self) -> None:
        self._closed = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now)
