"""Follows an order by its stream of server-sent events, as a browser does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

HEARTBEAT = b":\n\n"
_LIMIT = aiohttp.ClientTimeout(total=40)


class Stream:
    """One connection to the stream of an order."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.headers = response.headers
        self._content = response.content

    async def block(self) -> bytes:
        """The next event or comment; empty at the end."""
        return await self._content.readuntil(b"\n\n")

    async def event(self) -> tuple[str, dict[str, Any]] | None:
        """The id and the data of the next event, None at the end."""
        while (block := await self.block()) == HEARTBEAT:
            pass
        if not block:
            return None
        position, kind, data = block.decode().strip().split("\n")
        assert (position[:4], kind, data[:6]) == ("id: ", "event: status", "data: ")
        return position[4:], orjson.loads(data[6:])

    async def rest(self) -> list[str]:
        """Ids and statuses until the server ends the stream."""
        found = []
        while event := await self.event():
            found.append(f"{event[0]} {event[1]['status']}")
        return found


@asynccontextmanager
async def following(url: str, order_id: int, *last_event_id: str) -> AsyncIterator[Stream]:
    """Each of `last_event_id` goes as a header of its own; the connection ends with the context."""
    headers = [("Last-Event-ID", each) for each in last_event_id]
    async with (
        aiohttp.ClientSession(url, timeout=_LIMIT) as session,
        session.get(f"/orders/{order_id}/events", headers=headers) as response,
    ):
        assert response.status == 200, await response.read()
        yield Stream(response)
