"""Rows of orders-db; every function takes the connection, and its caller owns the transaction."""

from collections.abc import Sequence
from datetime import datetime

from orders import queries
from orders.domain import Draft, Order, Verdict
from shared.db import Connection


async def place(connection: Connection, drafts: Sequence[Draft]) -> list[tuple[int, datetime]]:
    """Writes orders, their history and the events `order.created`; the id and the time of each, in order."""
    rows = await connection.fetch(
        queries.PLACE_ORDERS,
        [draft.product_id for draft in drafts],
        [draft.quantity for draft in drafts],
        [draft.unit_price for draft in drafts],
        [draft.trace_id for draft in drafts],
        [draft.traceparent for draft in drafts],
    )
    return [(order_id, at) for order_id, at in rows]


async def apply(connection: Connection, verdicts: Sequence[Verdict]) -> list[tuple[int, str]]:
    """The product and the new status of each order that was pending."""
    rows = await connection.fetch(
        queries.APPLY_VERDICTS,
        [verdict.order_id for verdict in verdicts],
        [verdict.status for verdict in verdicts],
        [verdict.reason for verdict in verdicts],
        [verdict.trace_id for verdict in verdicts],
    )
    return [(product_id, status) for product_id, status in rows]


async def get(connection: Connection, order_id: int) -> Order | None:
    row = await connection.fetchrow(queries.GET_ORDER, order_id)
    return None if row is None else Order(*row)


async def page(
    connection: Connection, below_id: int, rows: int, *, status: str | None = None, product_id: int | None = None
) -> list[Order]:
    """Newest first."""
    if product_id is None and status is None:
        found = await connection.fetch(queries.LIST_ORDERS, below_id, rows)
    elif product_id is None:
        found = await connection.fetch(queries.LIST_BY_STATUS, below_id, rows, status)
    elif status is None:
        found = await connection.fetch(queries.LIST_BY_PRODUCT, below_id, rows, product_id)
    else:
        found = await connection.fetch(queries.LIST_BY_PRODUCT_AND_STATUS, below_id, rows, product_id, status)
    return [Order(*row) for row in found]
