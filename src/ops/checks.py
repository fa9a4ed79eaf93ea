"""The statements of `reconcile`; each takes the ids that it is to look at, or NULL for all.

What lies inside one database is compared there, so that only the rows that disagree are sent.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

from ops.databases import Session
from ops.differences import Difference, Kind, Order, Reservation, expected_movements

# The first look remembers so many of each sort for the second. More than that has a cause that shows without the rest.
MOST_KEPT = 10_000

Ids = Sequence[int] | None

# The second parameter limits the rows.
_STOCK = """
SELECT coalesce(p.id, m.product_id) AS product_id, p.qty, m.total
FROM (
    SELECT id, qty FROM products WHERE $1::bigint[] IS NULL OR id = ANY ($1)
) p
FULL JOIN (
    SELECT product_id, sum(delta) AS total
    FROM stock_movements
    WHERE $1::bigint[] IS NULL OR product_id = ANY ($1)
    GROUP BY product_id
) m ON m.product_id = p.id
WHERE p.qty IS DISTINCT FROM coalesce(m.total, 0) OR p.qty < 0
ORDER BY product_id
LIMIT $2
"""


async def stock(products: Session, product_ids: Ids) -> list[Difference]:
    """Products whose quantity is not the sum of their movements, or is below zero."""
    differences = []
    for row in await products.fetch(_STOCK, product_ids, MOST_KEPT + 1):
        product_id, qty, total = row["product_id"], row["qty"], row["total"] or 0
        found = "no product" if qty is None else f"qty {qty}"
        if qty != total:
            differences.append(Difference(Kind.STOCK, found, f"{total}, the sum of its movements", product_id))
        if qty is not None and qty < 0:
            differences.append(Difference(Kind.BELOW_ZERO, found, "0 or more", product_id))
    return differences


# Movements that ought to name an order and do not form a group of their own, without a reservation.
_MOVEMENTS = """
SELECT coalesce(r.order_id, m.order_id) AS order_id,
       coalesce(r.product_id, m.product_id) AS product_id,
       r.quantity, r.outcome, m.movements
FROM (
    SELECT order_id, product_id, quantity, outcome
    FROM reservations
    WHERE $1::bigint[] IS NULL OR order_id = ANY ($1)
) r
FULL JOIN (
    SELECT order_id,
           min(product_id) AS product_id,
           max(product_id) AS other_product_id,
           count(*) AS rows,
           sum(delta) FILTER (WHERE kind = 'reserve') AS reserved,
           sum(delta) FILTER (WHERE kind = 'release') AS released,
           (array_agg(kind || ' of ' || delta || ' of product ' || product_id ORDER BY id))[1:5] AS movements
    FROM stock_movements
    WHERE (order_id IS NOT NULL OR kind IN ('reserve', 'release'))
      AND ($1::bigint[] IS NULL OR order_id IS NULL OR order_id = ANY ($1))
    GROUP BY order_id
) m ON m.order_id = r.order_id
WHERE NOT coalesce(
    CASE
        WHEN r.outcome <> 'reserved' AND m.rows IS NULL THEN true
        WHEN r.product_id <> m.product_id OR r.product_id <> m.other_product_id THEN false
        WHEN r.outcome = 'reserved' THEN m.rows = 1 AND m.reserved = -r.quantity
        WHEN r.outcome = 'released' THEN m.rows = 2 AND m.reserved = -r.quantity AND m.released = r.quantity
    END,
    false
)
ORDER BY order_id
LIMIT $2
"""


async def movements(products: Session, order_ids: Ids) -> list[Difference]:
    """Orders whose movements are not those that their reservation asks for."""
    return [
        Difference(
            Kind.MOVEMENTS,
            found=f"{_state('reservation', row['outcome'])}: {', '.join(row['movements'] or ['none'])}",
            expected=expected_movements(row["outcome"], row["quantity"], row["product_id"]),
            product_id=row["product_id"],
            order_id=row["order_id"],
        )
        for row in await products.fetch(_MOVEMENTS, order_ids, MOST_KEPT + 1)
    ]


# A time in the history is the start of its transaction, and of two that wait for each other the one that started first
# may commit last: hence ten seconds, longer than any transaction of the services lives.
_HISTORY = """
SELECT coalesce(o.id, h.order_id) AS order_id, o.product_id, o.status, o.trace_id, h.entries
FROM (
    SELECT id, product_id, status, trace_id FROM orders WHERE $1::bigint[] IS NULL OR id = ANY ($1)
) o
FULL JOIN (
    SELECT order_id,
           array_agg(status ORDER BY created_at, status) AS entries,
           array_agg(status ORDER BY status COLLATE "C") AS statuses,
           max(created_at) FILTER (WHERE status = 'pending') AS pending_at,
           max(created_at) FILTER (WHERE status IN ('done', 'rejected')) AS decided_at,
           max(created_at) FILTER (WHERE status = 'cancelled') AS cancelled_at
    FROM order_history
    WHERE $1::bigint[] IS NULL OR order_id = ANY ($1)
    GROUP BY order_id
) h ON h.order_id = o.id
WHERE NOT coalesce(
    CASE o.status
        WHEN 'pending' THEN h.statuses = '{pending}'
        WHEN 'done' THEN h.statuses = '{done,pending}'
        WHEN 'rejected' THEN h.statuses = '{pending,rejected}'
        WHEN 'cancelled' THEN h.statuses = '{cancelled,pending}' OR h.statuses = '{cancelled,done,pending}'
    END,
    false
)
OR h.pending_at > least(h.decided_at, h.cancelled_at) + interval '10 seconds'
OR h.decided_at > h.cancelled_at + interval '10 seconds'
ORDER BY order_id
LIMIT $2
"""


async def history(orders: Session, order_ids: Ids) -> list[Difference]:
    """Orders whose history does not lead to their status."""
    return [
        Difference(
            Kind.HISTORY,
            found=f"{_state('order', row['status'])}: {', '.join(row['entries'] or ['no history'])}",
            expected=f"pending first, {row['status']} last" if row["status"] else "an order",
            product_id=row["product_id"],
            order_id=row["order_id"],
            trace_id=row["trace_id"],
        )
        for row in await orders.fetch(_HISTORY, order_ids, MOST_KEPT + 1)
    ]


async def count_products(products: Session) -> int:
    [row] = await products.fetch("SELECT count(*) FROM products")
    return int(row["count"])


# This and RESERVATIONS walk a primary key.
ORDERS = """
SELECT id, product_id, quantity, status, trace_id, extract(epoch FROM now() - updated_at)::float8 AS seconds,
       uid, product_uid
FROM orders
WHERE $1::bigint[] IS NULL OR id = ANY ($1)
ORDER BY id
"""


async def orders(database: Session, order_ids: Ids) -> AsyncIterator[Order]:
    async for row in database.stream(ORDERS, order_ids):
        yield Order(**row)


RESERVATIONS = """
SELECT order_id, product_id, quantity, outcome, order_uid AS uid
FROM reservations
WHERE $1::bigint[] IS NULL OR order_id = ANY ($1)
ORDER BY order_id
"""


async def reservations(database: Session, order_ids: Ids) -> AsyncIterator[Reservation]:
    async for row in database.stream(RESERVATIONS, order_ids):
        yield Reservation(**row)


_TRACES = "SELECT id, trace_id FROM orders WHERE id = ANY ($1::bigint[])"


async def with_traces(orders: Session, differences: Iterable[Difference]) -> list[Difference]:
    """Gives differences that were found in products-db the trace of their order."""
    ids = [d.order_id for d in differences if d.trace_id is None and d.order_id is not None]
    traces = {row["id"]: row["trace_id"] for row in await orders.fetch(_TRACES, ids)} if ids else {}
    return [d if d.trace_id is not None else replace(d, trace_id=traces.get(d.order_id)) for d in differences]


def _state(noun: str, state: str | None) -> str:
    return f"no {noun}" if state is None else f"{noun} {state}"
