"""What the databases say of a run: the truth about its orders, whatever a client has seen."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

CONNECT_SECONDS = 5.0
QUERY_SECONDS = 60.0
POLL_SECONDS = 0.2

# The newest id too: a request in flight may still write its order after the last pending one was done.
PROGRESS = """
SELECT (SELECT count(*) FROM orders WHERE product_id = ANY ($1::bigint[]) AND status = 'pending') AS pending,
       max(newest.id) AS newest
FROM unnest($1::bigint[]) AS product (id),
     LATERAL (SELECT id FROM orders WHERE product_id = product.id ORDER BY id DESC LIMIT 1) AS newest
"""

OUTCOME = """
SELECT count(*) FILTER (WHERE status = 'done') AS done,
       count(*) FILTER (WHERE status = 'rejected') AS rejected,
       count(*) FILTER (WHERE status = 'pending') AS pending,
       extract(epoch FROM max(updated_at) - min(updated_at)) AS done_seconds,
       percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM updated_at - created_at))
           AS waited
FROM orders
WHERE product_id = ANY ($1::bigint[])
"""

UNITS_DONE = """
SELECT product_id, sum(quantity) AS units
FROM orders
WHERE product_id = ANY ($1::bigint[]) AND status = 'done'
GROUP BY product_id
"""

STOCK = """
SELECT id, qty, (SELECT sum(delta) FROM stock_movements WHERE product_id = products.id) AS moved
FROM products
WHERE id = ANY ($1::bigint[])
"""


@dataclass(frozen=True)
class Outcome:
    """`waited`: milliseconds from accepted to final, by percentile."""

    done: int
    rejected: int
    pending: int
    done_seconds: float
    waited: dict[str, float]
    stock_adds_up: bool

    @property
    def orders(self) -> int:
        return self.done + self.rejected + self.pending


class Ledger:
    def __init__(self, orders_url: str, products_url: str) -> None:
        self._orders_url = orders_url
        self._products_url = products_url

    async def settled(self, products: Sequence[int], limit: float) -> bool:
        """Whether every order of these products gets final within `limit` seconds."""
        last: Any = None
        try:
            async with asyncio.timeout(limit):
                while True:
                    (progress,) = await _fetch(self._orders_url, PROGRESS, products)
                    if progress["pending"] == 0 and progress == last:
                        return True
                    last = progress
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return False

    async def outcome(self, products: Sequence[int], stock: int) -> Outcome:
        """Of all orders of these products, which had `stock` pieces each before the first."""
        (row,) = await _fetch(self._orders_url, OUTCOME, products)
        return Outcome(
            done=row["done"],
            rejected=row["rejected"],
            pending=row["pending"],
            done_seconds=float(row["done_seconds"] or 0),
            waited=dict(
                zip(
                    ("p50", "p95", "p99", "max"),
                    [seconds * 1e3 for seconds in row["waited"] or ()],
                    strict=False,
                )
            ),
            stock_adds_up=await self._stock_adds_up(products, stock),
        )

    async def _stock_adds_up(self, products: Sequence[int], stock: int) -> bool:
        units = {row["product_id"]: row["units"] for row in await _fetch(self._orders_url, UNITS_DONE, products)}
        rows = await _fetch(self._products_url, STOCK, products)
        left = {product: stock - units.get(product, 0) for product in products}
        return left == {row["id"]: row["qty"] for row in rows} == {row["id"]: row["moved"] for row in rows}


async def _fetch(url: str, query: str, products: Sequence[int]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS, command_timeout=QUERY_SECONDS)
    try:
        return list(await connection.fetch(query, products))
    finally:
        await connection.close(timeout=CONNECT_SECONDS)
