"""Rows of products-db; every function takes the connection, and its caller owns the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg

from products import queries
from products.domain import Claim, Outcome, taken
from shared.contracts.events import Reason
from shared.db import Connection


@dataclass(frozen=True, slots=True)
class Product:
    id: int
    name: str
    price: Decimal
    qty: int
    version: int
    created_at: datetime
    updated_at: datetime

    def as_json(self) -> dict[str, Any]:
        """What the API shows."""
        return {
            "id": self.id,
            "name": self.name,
            "price": f"{self.price:.2f}",
            "qty": self.qty,
            "version": self.version,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
        }


async def create(connection: Connection, name: str, price: Decimal, qty: int, traceparent: str | None) -> Product:
    """Writes the product, its first stock movement and the event `product.created`."""
    row = await connection.fetchrow(queries.CREATE_PRODUCT, name, price, qty, traceparent)
    return _product(row)


async def get(connection: Connection, product_id: int) -> Product | None:
    row = await connection.fetchrow(queries.GET_PRODUCT, product_id)
    return None if row is None else _product(row)


async def page(connection: Connection, below_id: int, rows: int) -> list[Product]:
    """Newest first."""
    return [_product(row) for row in await connection.fetch(queries.LIST_PRODUCTS, below_id, rows)]


async def lock_stock(connection: Connection, product_ids: Sequence[int]) -> dict[int, int]:
    """Product id to quantity, of those that exist; nobody else changes them until the transaction ends."""
    rows = await connection.fetch(queries.LOCK_STOCK, product_ids)
    return {row["id"]: row["qty"] for row in rows}


async def reservations(connection: Connection, claims: Sequence[Claim]) -> Mapping[int, Outcome]:
    """Order id to the outcome that was decided before."""
    by_order = {claim.order_id: claim for claim in claims}
    rows = await connection.fetch(queries.GET_RESERVATIONS, list(by_order))
    return {
        row["order_id"]: Outcome(
            by_order[row["order_id"]], row["outcome"], Reason(row["reason"]) if row["reason"] else None
        )
        for row in rows
    }


async def take_stock(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Writes reservations and movements, and one update for each product, however many orders took from it."""
    totals = taken(outcomes)
    claims = [outcome.claim for outcome in outcomes]
    await connection.execute(
        queries.TAKE_STOCK,
        [claim.order_id for claim in claims],
        [claim.product_id for claim in claims],
        [claim.quantity for claim in claims],
        [outcome.answer for outcome in outcomes],
        [outcome.reason for outcome in outcomes],
        list(totals),
        list(totals.values()),
    )


async def announce(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Writes an event `order.updated` for each."""
    await connection.execute(
        queries.ANNOUNCE_OUTCOMES,
        [outcome.claim.order_id for outcome in outcomes],
        [outcome.claim.product_id for outcome in outcomes],
        [outcome.answer for outcome in outcomes],
        [outcome.reason for outcome in outcomes],
        [outcome.claim.traceparent for outcome in outcomes],
    )


def _product(row: asyncpg.Record | None) -> Product:
    if row is None:
        raise LookupError("the statement returned no row")
    return Product(*row)
