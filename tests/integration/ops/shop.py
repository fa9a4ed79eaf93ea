"""Rows of the two databases as the services leave them, written past the services."""

from dataclasses import dataclass

from tests.databases import fetch

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PRODUCT = 7


@dataclass(frozen=True, slots=True)
class Shop:
    """One product with a stock of 100, and the orders that a test places."""

    products_url: str
    orders_url: str

    async def products(self, statement: str) -> None:
        await fetch(self.products_url, statement)

    async def orders(self, statement: str) -> None:
        await fetch(self.orders_url, statement)

    async def open(self) -> None:
        await self.products(f"INSERT INTO products (id, name, price, qty) VALUES ({PRODUCT}, 'Lamp', 1, 100)")
        await self.products(
            f"INSERT INTO stock_movements (product_id, kind, delta) VALUES ({PRODUCT}, 'initial', 100)"
        )

    async def order(self, order_id: int, status: str, outcome: str | None, *, age: str = "1 hour") -> None:
        """Of 2 lamps, with history, reservation and movements; `age` since it was placed and decided."""
        await self.orders(f"""
            INSERT INTO orders
                (id, product_id, quantity, unit_price, total_price, status, trace_id, created_at, updated_at)
            SELECT {order_id}, {PRODUCT}, 2, 1, 2, '{status}', '{TRACE_ID}', at, at
            FROM (SELECT now() - interval '{age}' AS at) AS decided
        """)
        before = {"pending": [], "cancelled": ["pending", "done"] if outcome == "released" else ["pending"]}
        for entry in dict.fromkeys([*before.get(status, ["pending"]), status]):
            await self.orders(f"""
                INSERT INTO order_history (order_id, status, created_at)
                VALUES ({order_id}, '{entry}', clock_timestamp() - interval '{age}')
            """)
        if outcome is not None:
            await self.reserve(order_id, outcome)

    async def reserve(self, order_id: int, outcome: str) -> None:
        await self.products(f"""
            INSERT INTO reservations (order_id, product_id, quantity, outcome)
            VALUES ({order_id}, {PRODUCT}, 2, '{outcome}')
        """)
        if outcome in {"reserved", "released"}:
            await self.move(order_id, "reserve", -2)
        if outcome == "released":
            await self.move(order_id, "release", 2)

    async def move(self, order_id: int | str, kind: str, delta: int) -> None:
        """With the stock, so that the two still agree."""
        await self.products(f"""
            WITH moved AS (UPDATE products SET qty = qty + {delta} WHERE id = {PRODUCT})
            INSERT INTO stock_movements (product_id, order_id, kind, delta)
            VALUES ({PRODUCT}, {order_id}, '{kind}', {delta})
        """)
