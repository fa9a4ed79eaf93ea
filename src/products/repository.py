"""Rows of products-db; every function takes the connection, and its caller owns the transaction."""

from collections.abc import Collection, Sequence
from decimal import Decimal

import asyncpg

from products import queries
from products.domain import Movement, Product
from products.settlement import Reservation, Settlement
from shared.contracts.events import Reason
from shared.contracts.fields import MAX_STOCK
from shared.db import Connection
from shared.idempotency import Key


async def create(connection: Connection, name: str, price: Decimal, qty: int, traceparent: str | None) -> Product:
    """Writes the product, its first stock movement and the event `product.created`."""
    return Product(*await connection.fetchrow(queries.CREATE_PRODUCT, name, price, qty, traceparent) or ())


async def change(
    connection: Connection,
    product_id: int,
    name: str | None,
    price: Decimal | None,
    *,
    versions: Collection[int] | None,
    traceparent: str | None,
) -> Product | None:
    """Writes the product and the event `product.updated`; None if there is none of these versions."""
    allowed = None if versions is None else list(versions)
    row = await connection.fetchrow(queries.CHANGE_PRODUCT, product_id, name, price, allowed, traceparent)
    return _product(row)


async def adjust(connection: Connection, product_id: int, delta: int, reason: str) -> Product | None:
    """Writes the product and a stock movement; None if there is none or its stock would leave the limits."""
    return _product(await connection.fetchrow(queries.ADJUST_STOCK, product_id, delta, reason, MAX_STOCK))


async def get(connection: Connection, product_id: int) -> Product | None:
    return _product(await connection.fetchrow(queries.GET_PRODUCT, product_id))


async def page(connection: Connection, below_id: int, rows: int) -> list[Product]:
    """Newest first."""
    return [Product(*row) for row in await connection.fetch(queries.LIST_PRODUCTS, below_id, rows)]


async def movements(connection: Connection, product_id: int, below_id: int, rows: int) -> list[Movement]:
    """Newest first."""
    return [Movement(*row) for row in await connection.fetch(queries.LIST_MOVEMENTS, below_id, rows, product_id)]


async def lock_stock(connection: Connection, product_ids: Sequence[int]) -> dict[int, int]:
    """Product id to quantity, of those that exist; nobody else changes them until the transaction ends."""
    rows = await connection.fetch(queries.LOCK_STOCK, product_ids)
    return {row["id"]: row["qty"] for row in rows}


async def reservations(connection: Connection, order_ids: Sequence[int]) -> dict[int, Reservation]:
    """Order id to the reservation made before."""
    rows = await connection.fetch(queries.GET_RESERVATIONS, order_ids)
    return {
        order_id: Reservation(order_id, product_id, quantity, outcome, Reason(reason) if reason else None)
        for order_id, product_id, quantity, outcome, reason in rows
    }


async def settle(connection: Connection, settlement: Settlement) -> None:
    """Writes reservations and movements, and one update for each product, however many orders changed its stock."""
    made, moves, changes = settlement.made, settlement.moves, settlement.changes
    await connection.execute(
        queries.SETTLE,
        [reservation.order_id for reservation in made],
        [reservation.product_id for reservation in made],
        [reservation.quantity for reservation in made],
        [reservation.outcome for reservation in made],
        [reservation.reason for reservation in made],
        settlement.ended,
        [move.product_id for move in moves],
        [move.order_id for move in moves],
        [move.kind for move in moves],
        [move.delta for move in moves],
        list(changes),
        list(changes.values()),
    )


async def announce(connection: Connection, answers: Sequence[tuple[Reservation, str | None]]) -> None:
    """Writes an event `order.updated` for each, with its traceparent."""
    await connection.execute(
        queries.ANNOUNCE_OUTCOMES,
        [reservation.order_id for reservation, _ in answers],
        [reservation.product_id for reservation, _ in answers],
        [reservation.outcome for reservation, _ in answers],
        [reservation.reason for reservation, _ in answers],
        [traceparent for _, traceparent in answers],
    )


async def first_answer(connection: Connection, key: Key) -> bytes | None:
    """JSON. Raises AppError IDEMPOTENCY_MISMATCH if the key was used for another request."""
    row = await connection.fetchrow(queries.GET_FIRST_ANSWER, key.value)
    if row is None:
        return None
    key.check(row["request_hash"])
    return str(row["answer"]).encode()


async def keep_answer(connection: Connection, key: Key, answer: bytes) -> None:
    """Raises asyncpg.UniqueViolationError if another process did so first."""
    await connection.execute(queries.KEEP_ANSWER, key.value, key.request_hash, answer.decode())


def _product(row: asyncpg.Record | None) -> Product | None:
    return None if row is None else Product(*row)
