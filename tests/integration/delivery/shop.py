"""Both services, the mail between them, and their tables."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.db import open_database
from tests.api import Api
from tests.broker import Vhost
from tests.integration.delivery.mail import Mail, Outbox


class Shop:
    """Both services, which exchange events of orders through `mail` alone."""

    def __init__(self, products_api: Api, orders_api: Api, products: Outbox, orders: Outbox, mail: Mail) -> None:
        self.products = products
        self.orders = orders
        self.mail = mail
        self._products_api = products_api
        self._orders_api = orders_api

    async def create_product(self, qty: int) -> int:
        """Returns the id."""
        answer = await self._products_api.post("/products", {"name": "Lamp", "price": "1.00", "qty": qty})
        return int(answer.data["id"])

    async def place_order(self, product_id: int, quantity: int) -> int:
        """Returns the id."""
        answer = await self._orders_api.post("/orders", {"productId": product_id, "quantity": quantity})
        return int(answer.data["id"])

    async def cancel_order(self, order_id: int) -> int:
        """Returns the status of the answer."""
        return (await self._orders_api.post(f"/orders/{order_id}/cancel", None)).status

    async def adjust_stock(self, product_id: int, delta: int) -> int:
        """Returns the status of the answer."""
        adjustment = {"delta": delta, "reason": "counted"}
        return (await self._products_api.post(f"/products/{product_id}/stock", adjustment)).status


@asynccontextmanager
async def open_shop(
    products_api: Api, orders_api: Api, products_owner_url: str, orders_owner_url: str, vhost: Vhost
) -> AsyncIterator[Shop]:
    """The URLs are those of the owners of the schemas."""
    async with (
        open_database(products_owner_url, "test") as products_database,
        open_database(orders_owner_url, "test") as orders_database,
        vhost.channel() as channel,
    ):
        products, orders = Outbox(products_database), Outbox(orders_database)
        await products.hold()
        await orders.hold()
        mail = Mail(channel, products_database, orders_database)
        yield Shop(products_api, orders_api, products, orders, mail)
