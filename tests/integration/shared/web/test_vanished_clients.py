"""A client that does not wait for the answer, seen behind the gateway."""

import asyncio

from aiohttp import web

from gateway.app import create_app
from gateway.settings import Settings
from shared.web.connection import ServerLimits
from shared.web.server import serving
from tests.integration.shared.web.raw import connected
from tests.integration.upstream import fake_service
from tests.waiting import eventually


async def test_a_read_at_a_service_ends_when_the_client_of_the_gateway_has_gone() -> None:
    ended = asyncio.Event()

    async def wait(_request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    async with fake_service() as orders:
        orders.respond = wait
        settings = Settings.load({"PRODUCTS_URL": orders.url, "ORDERS_URL": orders.url})
        async with serving(create_app(settings), ServerLimits()) as connections:
            port = await connections.listen("127.0.0.1", 0)
            async with connected(port) as peer:
                peer.send(b"GET /orders/7 HTTP/1.1\r\nHost: test\r\n\r\n")
                await eventually(lambda: orders.seen)
                assert not ended.is_set()
            await asyncio.wait_for(ended.wait(), 3.0)  # before the gateway gives up by itself
