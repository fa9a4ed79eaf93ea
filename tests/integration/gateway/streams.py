"""A service's stream that a test writes piece by piece."""

import asyncio

from aiohttp import web

FIRST = b'id: 1\nevent: status\ndata: {"status": "pending"}\n\n'
SECOND = b'id: 2\nevent: status\ndata: {"status": "done"}\n\n'


class Script:
    """Stands in for a service's answer; `ended` is set once the answer is whole, or its reader has gone."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._request: web.Request | None = None

    def write(self, piece: bytes) -> None:
        self._pieces.put_nowait(piece)

    def finish(self) -> None:
        self._pieces.put_nowait(None)

    def break_off(self) -> None:
        """Ends the stream as the death of the service does."""
        assert self._request is not None
        assert self._request.transport is not None
        self._request.transport.abort()

    async def respond(self, request: web.Request) -> web.StreamResponse:
        self._request = request
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        try:
            await response.prepare(request)
            while (piece := await self._pieces.get()) is not None:
                await response.write(piece)
        finally:
            self.ended.set()
        return response
