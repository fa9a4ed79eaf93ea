"""Both services, the mail between them, and their tables."""

from collections.abc import Mapping

from tests.api import Api
from tests.integration.delivery.mail import Mail, Outbox
from tests.waiting import reaches


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

    async def place_order(self, quantities: Mapping[int, int], *, held: bool) -> int:
        """`quantities` has that of each product. Returns the id."""
        lines = [{"productId": product_id, "quantity": quantity} for product_id, quantity in quantities.items()]
        hold = {"holdSeconds": 600} if held else {}
        return int((await self._orders_api.post("/orders", {"lines": lines, **hold})).data["id"])

    async def cancel_order(self, order_id: int) -> int:
        """Returns the status of the answer."""
        return (await self._orders_api.post(f"/orders/{order_id}/cancel", None)).status

    async def confirm_order(self, order_id: int) -> int:
        """Returns the status of the answer."""
        return (await self._orders_api.post(f"/orders/{order_id}/confirm", None)).status

    async def end_hold(self, order_id: int) -> None:
        """Returns when an order that is held has expired."""
        async with self.orders.database.connection() as connection:
            await connection.execute("UPDATE orders SET expires_at = now() WHERE id = $1", order_id)

        async def status() -> object:
            return (await self._orders_api.data(f"/orders/{order_id}"))["status"]

        await reaches(status, "expired")

    async def adjust_stock(self, product_id: int, delta: int) -> int:
        """Returns the status of the answer."""
        adjustment = {"delta": delta, "reason": "counted"}
        return (await self._products_api.post(f"/products/{product_id}/stock", adjustment)).status
