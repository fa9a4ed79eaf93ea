"""Follows an order by its stream of server-sent events, as a browser does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

_LIMIT = aiohttp.ClientTimeout(total=30)


class Watching:
    """One connection; `closed` by the server once it has told all."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self._content = response.content

    async def next(self) -> tuple[str, str]:
        """The id and the status of the next event."""
        fields: dict[str, str] = {}
        while "data" not in fields:
            fields = await self._fields()
        assert fields["event"] == "status"
        entry: dict[str, Any] = json.loads(fields["data"])
        return fields["id"], entry["status"]

    async def rest(self) -> list[tuple[str, str]]:
        """All further events, once the server has closed the stream."""
        events = []
        while not self._content.at_eof():
            try:
                events.append(await self.next())
            except EOFError:
                break
        return events

    async def _fields(self) -> dict[str, str]:
        """Of one block; a heartbeat has none."""
        fields: dict[str, str] = {}
        async for line in self._content:
            if line == b"\n":
                return fields
            name, _, value = line.decode().partition(":")
            fields[name] = value.strip()
        raise EOFError


@asynccontextmanager
async def watching(url: str, order_id: int, last_event_id: str | None = None) -> AsyncIterator[Watching]:
    """`url` is the gateway's; the connection ends with the context."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    async with (
        aiohttp.ClientSession(url, timeout=_LIMIT) as session,
        session.get(f"/orders/{order_id}/events", headers=headers) as response,
    ):
        yield Watching(response)
