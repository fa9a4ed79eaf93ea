"""Orders, reservations and movements as the services leave them in their rows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PRODUCT = 7

MOVE = "INSERT INTO stock_movements (product_id, order_id, kind, delta) VALUES (7, {id}, '%s', %d)"


class Shop:
    """One product with a stock of 100, and orders of 2 pieces, as the services leave them in their rows."""

    def __init__(self, products: Connection, orders: Connection) -> None:
        self.products = products
        self.orders = orders

    async def product(self, product_id: int, qty: int, moved: int | None) -> None:
        await self.products.execute(f"""
            INSERT INTO products (id, name, price, qty) VALUES ({product_id}, 'Lamp', 1, {qty});
            INSERT INTO stock_movements (product_id, kind, delta) SELECT {product_id}, 'initial', moved
            FROM (VALUES ({"NULL::integer" if moved is None else moved})) AS m (moved) WHERE moved IS NOT NULL;
        """)

    async def order(self, order_id: int, status: str, outcome: str | None, *, age: str = "1 hour") -> None:
        """Writes the order with its history, reservation and movements, all of them `age` old."""
        before = {"pending": [], "cancelled": ["pending", "done"] if outcome == "released" else ["pending"]}
        entries = dict.fromkeys([*before.get(status, ["pending"]), status])
        await self.orders.execute(f"""
            INSERT INTO orders
                (id, product_id, quantity, unit_price, total_price, status, trace_id, created_at, updated_at)
            SELECT {order_id}, {PRODUCT}, 2, 1, 2, '{status}', '{TRACE_ID}', at, at
            FROM (SELECT now() - interval '{age}' AS at) AS decided;
            INSERT INTO order_history (order_id, status, created_at)
            SELECT {order_id}, status, now() - interval '{age}' + position * interval '1 millisecond'
            FROM unnest(ARRAY{list(entries)}) WITH ORDINALITY AS e (status, position);
        """)
        if outcome is not None:
            await self.reserve(order_id, outcome)

    async def reserve(self, order_id: int, outcome: str) -> None:
        deltas = {"reserved": {"reserve": -2}, "released": {"reserve": -2, "release": 2}}.get(outcome, {})
        moves = ";".join((MOVE % move).format(id=order_id) for move in deltas.items())
        await self.products.execute(f"""
            INSERT INTO reservations (order_id, product_id, quantity, outcome)
            VALUES ({order_id}, {PRODUCT}, 2, '{outcome}');
            UPDATE products SET qty = qty + {sum(deltas.values())} WHERE id = {PRODUCT};
            {moves}
        """)


@asynccontextmanager
async def open_shop(products_url: str, orders_url: str) -> AsyncIterator[Shop]:
    """Orders 1001 to 1006 are in every state that an order can end in."""
    products, orders = [await asyncpg.connect(url, command_timeout=20) for url in (products_url, orders_url)]
    shop = Shop(products, orders)
    await shop.product(PRODUCT, 100, 100)
    await shop.order(1001, "done", "reserved")
    await shop.order(1002, "rejected", "rejected")
    await shop.order(1003, "cancelled", "released")
    await shop.order(1004, "cancelled", "rejected")
    await shop.order(1005, "cancelled", None)
    # The cancellation was there before the order.
    await products.execute(f"INSERT INTO reservations VALUES (1005, {PRODUCT}, 2, 'released')")
    await shop.order(1006, "pending", None, age="1 second")
    yield shop
    await products.close()
    await orders.close()
