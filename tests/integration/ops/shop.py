"""Orders, reservations and movements as the services leave them in their rows."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TypeAlias

import asyncpg

from tests.traces import TRACE_ID

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PRODUCT, OTHER = 7, 9
# What an order is of: how many of which product.
ONE, SEVERAL = MappingProxyType({PRODUCT: 2}), MappingProxyType({PRODUCT: 2, OTHER: 3})

MOVE = "INSERT INTO stock_movements (product_id, order_id, kind, delta) VALUES (7, {id}, '%s', %d)"


class Shop:
    """Two products, and orders of one of them or of both, as the services leave them in their rows."""

    def __init__(self, products: Connection, orders: Connection) -> None:
        self.products = products
        self.orders = orders

    async def product(self, product_id: int, qty: int, moved: int | None) -> None:
        await self.products.execute(f"""
            INSERT INTO products (id, name, price, qty) VALUES ({product_id}, 'Lamp', 1, {qty});
            INSERT INTO stock_movements (product_id, kind, delta) SELECT {product_id}, 'initial', moved
            FROM (VALUES ({"NULL::integer" if moved is None else moved})) AS m (moved) WHERE moved IS NOT NULL;
        """)

    async def order(
        self,
        order_id: int,
        status: str,
        outcome: str | None,
        *,
        age: str = "1 hour",
        of: Mapping[int, int] = ONE,
        hold: bool = False,
    ) -> None:
        """Writes the order with its history, reservation and movements, all of them `age` old.

        With a hold, which ends in an hour, it was held before it got any status but those that come before that.
        """
        before = {"pending": [], "cancelled": ["pending", "done"] if outcome == "released" else ["pending"]}
        held = ["pending", "held"] if hold and status not in ("pending", "rejected") else []
        entries = dict.fromkeys([*held, *before.get(status, ["pending"]), status])
        [(product_id, quantity, price)] = [(*item, 1) for item in of.items()] if len(of) == 1 else [("NULL",) * 3]
        prices = {
            id_: {"productId": id_, "productUid": None, "quantity": n, "unitPrice": "1.00"} for id_, n in of.items()
        }
        await self.orders.execute(f"""
            INSERT INTO orders (
                id, product_id, quantity, unit_price, total_price, status, trace_id, created_at, updated_at, lines,
                expires_at
            )
            SELECT {order_id}, {product_id}, {quantity}, {price}, {sum(of.values())}, '{status}',
                   '{TRACE_ID}', at, at, {f"'{json.dumps([*prices.values()])}'" if len(of) > 1 else "NULL"},
                   {"now() + interval '1 hour'" if hold else "NULL"}
            FROM (SELECT now() - interval '{age}' AS at) AS decided;
            INSERT INTO order_products
            SELECT id, (line ->> 'productId')::bigint, status FROM orders, json_array_elements(lines) AS line
            WHERE id = {order_id};
            INSERT INTO order_history (order_id, status, created_at)
            SELECT {order_id}, status, now() - interval '{age}' + position * interval '1 millisecond'
            FROM unnest(ARRAY{list(entries)}) WITH ORDINALITY AS e (status, position);
        """)
        if outcome is not None:
            await self.reserve(order_id, outcome, of=of)

    async def reserve(self, order_id: int, outcome: str, *, of: Mapping[int, int] = ONE) -> None:
        """With the outcome `held` it is reserved and waits for the confirmation of its order."""
        is_held = outcome == "held"
        signs = {"reserved": {"reserve": -1}, "held": {"reserve": -1}, "released": {"reserve": -1, "release": 1}}
        for line, (product_id, quantity) in enumerate(of.items()):
            deltas = {kind: sign * quantity for kind, sign in signs.get(outcome, {}).items()}
            moves = [f"({product_id}, {order_id}, '{kind}', {delta})" for kind, delta in deltas.items()]
            moving = f"INSERT INTO stock_movements (product_id, order_id, kind, delta) VALUES {','.join(moves)};"
            await self.products.execute(f"""
                INSERT INTO reservations (order_id, line, product_id, quantity, outcome, held) VALUES
                    ({order_id}, {line}, {product_id}, {quantity}, '{"reserved" if is_held else outcome}', {is_held});
                UPDATE products SET qty = qty + {sum(deltas.values())}, held = held + {quantity if is_held else 0}
                WHERE id = {product_id};
                {moving if moves else ""}
            """)


@asynccontextmanager
async def open_shop(products_url: str, orders_url: str) -> AsyncIterator[Shop]:
    """Orders 1001 to 1006 are in every state that an order can end in, 1007 to 1013 in those of lines and holds."""
    products, orders = [await asyncpg.connect(url, command_timeout=20) for url in (products_url, orders_url)]
    shop = Shop(products, orders)
    for product_id, qty in ((PRODUCT, 106), (OTHER, 100)):
        await shop.product(product_id, qty, qty)
    await shop.order(1001, "done", "reserved")
    await shop.order(1002, "rejected", "rejected")
    await shop.order(1003, "cancelled", "released")
    await shop.order(1004, "cancelled", "rejected")
    await shop.order(1005, "cancelled", None)
    # The cancellation was there before the order.
    await shop.reserve(1005, "rejected")
    await products.execute("UPDATE reservations SET outcome = 'released' WHERE order_id = 1005")
    await shop.order(1006, "pending", None, age="1 second")
    await shop.order(1007, "done", "reserved", of=SEVERAL)
    await shop.order(1008, "rejected", "rejected", of=SEVERAL)
    await shop.order(1009, "cancelled", "released", of=SEVERAL, hold=True)
    await shop.order(1010, "held", "held", of=SEVERAL, hold=True)
    await shop.order(1011, "done", "reserved", hold=True)
    await shop.order(1012, "expired", "released", of=SEVERAL, hold=True)
    await shop.order(1013, "cancelled", "released", hold=True)
    await orders.execute("DELETE FROM order_entries WHERE order_id = 1013 AND status = 'done'")
    yield shop
    await products.close()
    await orders.close()
