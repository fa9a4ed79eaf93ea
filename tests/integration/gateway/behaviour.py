"""What a service may do to a request, well or badly."""

import asyncio
from itertools import chain, repeat

from aiohttp import web

from tests.integration.upstream import Respond, envelope, respond_with

ORDER = {"productId": 7, "quantity": 1}
DONE = envelope(200, {"id": 1})

ok = respond_with(200, DONE)
busy = respond_with(503, envelope(503, None, error={"code": "unavailable", "message": "busy"}))
crash = respond_with(500, envelope(500, None, error={"code": "internal_error", "message": "crash"}))
bad_gateway = respond_with(502, b"<html>", {"Content-Type": "text/html"})


async def half(request: web.Request) -> web.StreamResponse:
    """Sends an answer that breaks off; the head is all of one to HEAD, so that breaks off before."""
    assert request.transport is not None
    if request.method == "HEAD":
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-")
        request.transport.close()
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(DONE))})
    await response.prepare(request)
    await response.write(DONE[:9])
    request.transport.close()
    return response


async def trickle(request: web.Request) -> web.StreamResponse:
    """Sends a byte now and then, so that the answer is never quiet for long."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


def turns(*responds: Respond) -> Respond:
    """Answers with one after the other, and with the last for ever."""
    script = chain(responds[:-1], repeat(responds[-1]))

    async def respond(request: web.Request) -> web.StreamResponse:
        return await next(script)(request)

    return respond


class Gate:
    """Holds requests, except those for readiness, until it is opened; then `respond` answers them."""

    def __init__(self, respond: Respond = ok) -> None:
        self._respond = respond
        self._open = asyncio.Event()
        self.waiting = 0
        self.most = 0

    def open(self) -> None:
        self._open.set()

    async def respond(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/health/ready":
            return await ok(request)
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1
        return await self._respond(request)
