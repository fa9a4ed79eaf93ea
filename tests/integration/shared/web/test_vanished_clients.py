"""The services themselves, asked by clients that do not wait for the answer."""

import asyncio
import json

from aiohttp import web

from gateway.app import create_app as create_gateway
from gateway.settings import Settings as GatewaySettings
from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from shared.web.connection import ServerLimits
from shared.web.server import serving
from tests.api import connect
from tests.integration.conftest import is_up
from tests.integration.shared.web.raw import connected
from tests.integration.upstream import FakeService, envelope, fake_service, respond_with
from tests.waiting import eventually

_PRODUCT = {"id": 7, "name": "Lamp", "price": "19.90", "qty": 0, "version": 1}
_BODY = json.dumps({"productId": 7, "quantity": 3}).encode()
_HEAD = b"POST /orders HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


async def test_an_order_whose_client_goes_at_once_is_written(
    orders_settings: OrdersSettings, product_service: FakeService
) -> None:
    product_service.respond = respond_with(200, envelope(200, _PRODUCT))
    async with serving(create_orders(orders_settings), ServerLimits()) as connections:
        port = await connections.listen("127.0.0.1", 0)
        async with connect(f"http://127.0.0.1:{port}") as api:
            await eventually(lambda: is_up(api))
            async with connected(port) as peer:
                peer.send(_HEAD % len(_BODY) + _BODY)
                peer.writer.close()
                await peer.writer.wait_closed()

            async def is_written() -> bool:
                return (await api.get("/orders/1")).status == 200

            await eventually(is_written)


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
        settings = GatewaySettings.load({"PRODUCTS_URL": orders.url, "ORDERS_URL": orders.url})
        async with serving(create_gateway(settings), ServerLimits()) as connections:
            port = await connections.listen("127.0.0.1", 0)
            async with connected(port) as peer:
                peer.send(b"GET /orders/7 HTTP/1.1\r\nHost: test\r\n\r\n")
                await eventually(lambda: orders.seen)
                assert not ended.is_set()
            await asyncio.wait_for(ended.wait(), 3.0)  # before the gateway gives up by itself
