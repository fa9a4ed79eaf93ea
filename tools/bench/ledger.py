"""The orders and the stock of a run as the databases hold them, whatever a client has seen."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from ops.databases import session

POLL_SECONDS = 0.2

# Where orders have one line the table of the others is not asked: earlier releases have none.
# The newest id too: a request in flight may still write its order after the last pending one was done.
PROGRESS = """
SELECT count(*) FILTER (WHERE status = 'pending') AS pending, max(newest) AS newest
FROM (
    SELECT status, max(id) AS newest FROM orders WHERE product_id = ANY ($1::bigint[]) GROUP BY status
    {several}
) AS of_products
"""
PROGRESS_OF_SEVERAL = """
UNION ALL SELECT status, max(order_id) FROM order_products WHERE product_id = ANY ($1::bigint[]) GROUP BY status
"""

OUTCOME = """
SELECT count(*) FILTER (WHERE status = 'done') AS done,
       count(*) FILTER (WHERE status = 'rejected') AS rejected,
       count(*) FILTER (WHERE status = 'pending') AS pending,
       extract(epoch FROM max(updated_at) - min(updated_at)) AS done_seconds,
       percentile_cont(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM updated_at - created_at))
           AS waited
FROM orders
WHERE product_id = ANY ($1::bigint[]) {several}
"""
OUTCOME_OF_SEVERAL = "OR id IN (SELECT order_id FROM order_products WHERE product_id = ANY ($1::bigint[]))"

STOCK = """
SELECT sum(qty) AS qty, sum((SELECT sum(delta) FROM stock_movements WHERE product_id = products.id)) AS moved
FROM products
WHERE id = ANY ($1::bigint[])
"""


@dataclass(frozen=True)
class Outcome:
    done: int
    rejected: int
    pending: int
    done_seconds: float
    """From the first final order to the last."""
    waited: dict[str, float]
    """Milliseconds from accepted to final by percentile."""
    stock_adds_up: bool

    @property
    def orders(self) -> int:
        return self.done + self.rejected + self.pending


async def settled(orders_url: str, products: Sequence[int], limit: float, lines: int) -> bool:
    """Returns whether every order of these products becomes final within `limit` seconds."""
    last, query = None, PROGRESS.format(several=PROGRESS_OF_SEVERAL if lines > 1 else "")
    try:
        async with asyncio.timeout(limit):
            while True:
                progress = await _fetch(orders_url, query, products)
                if progress["pending"] == 0 and progress == last:
                    return True
                last = progress
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        return False


async def outcome(orders_url: str, products_url: str, products: Sequence[int], stock: int, lines: int) -> Outcome:
    """Counts all orders of these products, which had `stock` pieces each. An order has a piece of `lines` of them."""
    query = OUTCOME.format(several=OUTCOME_OF_SEVERAL if lines > 1 else "")
    row, left = await _fetch(orders_url, query, products), await _fetch(products_url, STOCK, products)
    seconds = zip(("p50", "p95", "p99", "max"), row["waited"] or (), strict=False)
    return Outcome(
        **{status: row[status] for status in ("done", "rejected", "pending")},
        done_seconds=float(row["done_seconds"] or 0),
        waited={name: value * 1e3 for name, value in seconds},
        stock_adds_up=left["qty"] == left["moved"] == stock * len(products) - lines * row["done"],
    )


async def _fetch(url: str, query: str, products: Sequence[int]) -> asyncpg.Record:
    """The one row of a query."""
    async with session(url, "the database") as database:
        [row] = await database.fetch(query, products)
        return row
