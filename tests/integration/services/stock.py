"""Stock past the code under test, and the events of orders that ask for it."""

from typing import Any

from tests.broker import event, orders_created
from tests.databases import fetch


async def product(url: str, qty: int) -> int:
    """Writes a product with its first movement; returns its id."""
    [(product_id,)] = await fetch(
        url,
        """
        WITH created AS (INSERT INTO products (name, price, qty) VALUES ('Lamp', 1, $1) RETURNING id, qty)
        INSERT INTO stock_movements (product_id, kind, delta) SELECT id, 'initial', qty FROM created
        RETURNING product_id
        """,
        qty,
    )
    return int(product_id)


async def left(url: str, product_id: int) -> int:
    """The stock, which is always the sum of its movements."""
    [(qty, moved)] = await fetch(
        url,
        "SELECT qty, (SELECT sum(delta) FROM stock_movements WHERE product_id = p.id) FROM products p WHERE id = $1",
        product_id,
    )
    assert qty == moved
    return int(qty)


async def movements(url: str) -> list[tuple[int | None, str, int]]:
    """Order, kind and delta of each movement but the initial ones, oldest first."""
    return await fetch(
        url, "SELECT order_id, kind, delta FROM stock_movements WHERE kind <> 'initial' ORDER BY product_id, id"
    )


async def outcomes(url: str) -> dict[int, str]:
    """The outcome of each reservation by the id of its order."""
    return dict(await fetch(url, "SELECT order_id, outcome FROM reservations"))


def created(product_id: int, order_id: int, quantity: int) -> dict[str, Any]:
    [event] = orders_created(product_id, [order_id], quantity)
    return event


def cancelled(product_id: int, order_id: int, quantity: int) -> dict[str, Any]:
    return event("order.cancelled", {"orderId": order_id, "productId": product_id, "quantity": quantity})
