"""Rows of orders-db; every function takes the connection, and its caller owns the transaction."""

from collections.abc import Sequence
from datetime import datetime

from orders import queries
from orders.domain import Change, Draft, Entry, Order, Pending, Verdict
from shared.db import Connection
from shared.idempotency import Key


async def place(connection: Connection, drafts: Sequence[Draft]) -> list[tuple[int | None, datetime]]:
    """Writes orders, their history and the events `order.created`.

    The id and the time of each, in order; no id for one whose key another order has.
    """
    rows = await connection.fetch(
        queries.PLACE_ORDERS,
        [draft.product_id for draft in drafts],
        [draft.quantity for draft in drafts],
        [draft.unit_price for draft in drafts],
        [draft.trace_id for draft in drafts],
        [draft.traceparent for draft in drafts],
        [draft.key.value if draft.key else None for draft in drafts],
        [draft.key.request_hash if draft.key else None for draft in drafts],
    )
    return [(order_id, at) for order_id, at in rows]


async def apply(connection: Connection, verdicts: Sequence[Verdict]) -> list[Change]:
    """Those of them that were pending."""
    rows = await connection.fetch(
        queries.APPLY_VERDICTS,
        [verdict.order_id for verdict in verdicts],
        [verdict.status for verdict in verdicts],
        [verdict.reason for verdict in verdicts],
        [verdict.trace_id for verdict in verdicts],
    )
    return [Change(*row) for row in rows]


async def cancel(connection: Connection, order_id: int, trace_id: str, traceparent: str) -> Order | None:
    """Writes the order, its history and the event `order.cancelled`; None if its status does not allow it."""
    row = await connection.fetchrow(queries.CANCEL_ORDER, order_id, trace_id, traceparent)
    return None if row is None else Order(*row)


async def get(connection: Connection, order_id: int) -> Order | None:
    row = await connection.fetchrow(queries.GET_ORDER, order_id)
    return None if row is None else Order(*row)


async def find(connection: Connection, key: Key) -> Order | None:
    """Raises AppError IDEMPOTENCY_MISMATCH if the key was used for another request."""
    row = await connection.fetchrow(queries.FIND_BY_KEY, key.value)
    if row is None:
        return None
    request_hash, *columns = row
    key.check(request_hash)
    return Order(*columns)


async def history(connection: Connection, order_id: int) -> list[Entry]:
    """Oldest first."""
    return [Entry(*row) for row in await connection.fetch(queries.GET_HISTORY, order_id)]


async def final(connection: Connection, order_ids: Sequence[int]) -> list[int]:
    """Those that are not pending."""
    return [row["id"] for row in await connection.fetch(queries.FIND_FINAL, order_ids)]


async def clock(connection: Connection) -> datetime:
    """That of the database, by which all times in it were set."""
    now: datetime = await connection.fetchval(queries.CLOCK)
    return now


async def pending(connection: Connection, now: datetime, above_id: int, rows: int) -> list[Pending]:
    """Oldest first."""
    return [Pending(*row) for row in await connection.fetch(queries.LIST_PENDING, above_id, rows, now)]


async def cancelled(
    connection: Connection, now: datetime, age: float, since: float, rows: int
) -> list[tuple[int, str]]:
    """Id and trace id where the time since passed that age, or a doubling of it, in the last `since` seconds."""
    found = await connection.fetch(queries.LIST_CANCELLED, age, since, now, rows)
    return [(row["id"], row["trace_id"]) for row in found]


async def announce_again(connection: Connection, orders: Sequence[tuple[int, str]]) -> None:
    """Writes `order.created` or `order.cancelled` for those that still are; each comes with its traceparent."""
    await connection.execute(
        queries.ANNOUNCE_AGAIN,
        [order_id for order_id, _ in orders],
        [traceparent for _, traceparent in orders],
    )


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
