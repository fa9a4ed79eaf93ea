"""The rows of some products and orders in the tables of both services."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.db import Database

_STOCK = "SELECT id, qty, held FROM products WHERE id = ANY ($1::bigint[])"
_MOVEMENTS = """
SELECT product_id, order_id, kind, delta FROM stock_movements WHERE product_id = ANY ($1::bigint[]) ORDER BY id
"""
_RESERVATIONS = """
SELECT order_id, product_id, quantity, outcome, held FROM reservations WHERE order_id = ANY ($1::bigint[])
"""
_HISTORIES = """
SELECT orders.id, orders.status, array_agg(
    h.status
    ORDER BY array_position(ARRAY['pending', 'held', 'done', 'rejected', 'expired', 'cancelled'], h.status)
)
FROM orders JOIN order_history AS h ON h.order_id = orders.id
WHERE orders.id = ANY ($1::bigint[])
GROUP BY orders.id
"""


class Reservation(NamedTuple):
    """Of one line."""

    quantity: int
    outcome: str
    held: bool


@dataclass(frozen=True, slots=True)
class Stock:
    """What is free and what is held of each product, and the reservations of each order by product.

    `moved` has what each kind of movement of a product adds up to; `moved_by` the movements of each order by product.
    """

    qty: dict[int, int]
    held: dict[int, int]
    reservations: dict[int, dict[int, Reservation]] = field(default_factory=lambda: defaultdict(dict))
    moved: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    moved_by: dict[tuple[int, int], list[int]] = field(default_factory=lambda: defaultdict(list))


async def read_stock(database: Database, product_ids: Iterable[int], order_ids: Iterable[int]) -> Stock:
    products = list(product_ids)
    async with database.connection() as connection:
        quantities = await connection.fetch(_STOCK, products)
        movements = await connection.fetch(_MOVEMENTS, products)
        reservations = await connection.fetch(_RESERVATIONS, list(order_ids))
    stock = Stock({row["id"]: row["qty"] for row in quantities}, {row["id"]: row["held"] for row in quantities})
    for order_id, product_id, *columns in reservations:
        stock.reservations[order_id][product_id] = Reservation(*columns)
    for product_id, order_id, kind, delta in movements:
        stock.moved[product_id][kind] += delta
        if order_id is not None:
            stock.moved_by[order_id, product_id].append(delta)
    return stock


async def read_orders(database: Database, order_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """The statuses that each order has had; the last one is that of its row."""
    async with database.connection() as connection:
        rows = await connection.fetch(_HISTORIES, list(order_ids))
    assert all(history[-1] == status for _, status, history in rows)
    return {order_id: tuple(history) for order_id, _, history in rows}
