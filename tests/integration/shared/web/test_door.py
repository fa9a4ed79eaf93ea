"""A connection whose requests are all answered at the door lives and ends like any other."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from shared.web.connection import ServerLimits
from shared.web.door import DOOR
from shared.web.server import serving
from tests.integration.shared.web.raw import connected

LIMITS = ServerLimits(idle=0.3, sweep=0.05)
REQUEST = b"GET /shut HTTP/1.1\r\nHost: test\r\n\r\n"
ANSWER = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def handle(_request: web.Request) -> web.Response:
        return web.Response(text="open")

    app = web.Application()
    app.router.add_get("/{any}", handle)
    app[DOOR] = lambda message: ANSWER if message.path == "/shut" else None
    async with serving(app, LIMITS) as connections:
        yield await connections.listen("127.0.0.1", 0)


@pytest.mark.parametrize("first", [b"/shut", b"/open"])
async def test_an_idle_one_is_closed(port: int, first: bytes) -> None:
    async with connected(port) as peer:
        peer.send(REQUEST.replace(b"/shut", first))
        await peer.reply()
        peer.send(REQUEST)
        assert (await peer.reply()).status == 503
        assert await peer.rest() == b""
