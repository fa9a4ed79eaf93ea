"""The statements of `reconcile`; each takes the ids that it is to look at, or NULL for all.

What lies inside one database is compared there, so that only the rows that disagree are sent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import starmap
from typing import TypeVar

import asyncpg

from ops.databases import Session
from ops.differences import Difference, Kind, Line, Order, Reservation, expected_movements, only_product
from shared.contracts.requests import OrderStatus

# The first look remembers so many of each sort for the second. More than that has a cause that shows without the rest.
MOST_KEPT = 10_000

Ids = Sequence[int] | None
Claim = TypeVar("Claim", Order, Reservation)

# The second parameter limits the rows.
_STOCK = """
SELECT coalesce(p.id, m.product_id, r.product_id) AS product_id, p.qty, coalesce(m.total, 0) AS total,
       coalesce(p.held, 0) AS held, coalesce(r.total, 0) AS held_total
FROM (
    SELECT id, qty, held FROM products WHERE $1::bigint[] IS NULL OR id = ANY ($1)
) p
FULL JOIN (
    SELECT product_id, sum(delta) AS total
    FROM stock_movements
    WHERE $1::bigint[] IS NULL OR product_id = ANY ($1)
    GROUP BY product_id
) m ON m.product_id = p.id
FULL JOIN (
    SELECT product_id, sum(quantity) AS total
    FROM reservations
    WHERE held AND ($1::bigint[] IS NULL OR product_id = ANY ($1))
    GROUP BY product_id
) r ON r.product_id = coalesce(p.id, m.product_id)
WHERE p.qty IS DISTINCT FROM coalesce(m.total, 0) OR p.qty < 0 OR coalesce(p.held, 0) <> coalesce(r.total, 0)
ORDER BY product_id
LIMIT $2
"""


async def stock(products: Session, product_ids: Ids) -> list[Difference]:
    """Products whose quantity is not the sum of their movements, or is below zero, or whose held stock is wrong."""
    differences = []
    for row in await products.fetch(_STOCK, product_ids, MOST_KEPT + 1):
        product_id, qty, total, held, held_total = row
        found = "no product" if qty is None else f"qty {qty}"
        if qty != total:
            differences.append(Difference(Kind.STOCK, found, f"{total}, the sum of its movements", product_id))
        if qty is not None and qty < 0:
            differences.append(Difference(Kind.BELOW_ZERO, found, "0 or more", product_id))
        if held != held_total:
            expected = f"{held_total}, the sum of the held reservations"
            differences.append(Difference(Kind.HELD, f"{held} held", expected, product_id))
    return differences


# Lines and movements are sorted before they go into arrays: sorting each order's own costs twice as much.
# Movements that ought to name an order and do not form a group of their own, without a reservation.
_MOVEMENTS = """
SELECT coalesce(r.order_id, m.order_id) AS order_id, m.product_id, r.lines, r.outcome, m.movements
FROM (
    SELECT order_id, min(outcome) AS outcome, array_agg((product_id, quantity)) AS lines
    FROM (
        SELECT * FROM reservations WHERE $1::bigint[] IS NULL OR order_id = ANY ($1) ORDER BY order_id, product_id
    ) line
    GROUP BY order_id
) r
FULL JOIN (
    SELECT order_id,
           CASE WHEN min(product_id) = max(product_id) THEN min(product_id) END AS product_id,
           count(*) AS rows,
           array_agg((product_id, -delta)) FILTER (WHERE kind = 'reserve') AS reserved,
           array_agg((product_id, delta)) FILTER (WHERE kind = 'release') AS released,
           (array_agg(kind || ' of ' || delta || ' of product ' || product_id))[1:5] AS movements
    FROM (
        SELECT * FROM stock_movements
        WHERE (order_id IS NOT NULL OR kind IN ('reserve', 'release'))
          AND ($1::bigint[] IS NULL OR order_id IS NULL OR order_id = ANY ($1))
        ORDER BY order_id, product_id, id
    ) movement
    GROUP BY order_id
) m ON m.order_id = r.order_id
WHERE NOT coalesce(
    CASE
        WHEN r.outcome NOT IN ('reserved', 'rejected', 'released', 'archived') THEN true
        WHEN r.outcome <> 'reserved' AND m.rows IS NULL THEN true
        WHEN r.outcome = 'reserved' THEN m.rows = cardinality(r.lines) AND m.reserved = r.lines
        WHEN r.outcome = 'released' THEN
            m.rows = 2 * cardinality(r.lines) AND m.reserved = r.lines AND m.released = r.lines
    END,
    false
)
ORDER BY order_id
LIMIT $2
"""


async def movements(products: Session, order_ids: Ids) -> list[Difference]:
    """Orders whose movements are not those that their reservation asks for."""
    differences = []
    for order_id, product_id, lines, outcome, moved in await products.fetch(_MOVEMENTS, order_ids, MOST_KEPT + 1):
        found = f"{_state('reservation', outcome)}: {', '.join(moved or ['none'])}"
        reserved = list(starmap(Line, lines or ()))
        subject = only_product(reserved) if reserved else product_id
        expected = expected_movements(outcome, reserved)
        differences.append(Difference(Kind.MOVEMENTS, found, expected, subject, order_id))
    return differences


# A time in the history is the start of its transaction, and of two that wait for each other the one that started first
# may commit last: hence ten seconds, longer than any transaction of the services lives. $3 holds the statuses that are
# known: those of a newer release are passed over.
_HISTORY = """
SELECT coalesce(o.id, h.order_id) AS order_id, o.product_id, o.status, o.trace_id, h.entries || l.copies AS entries
FROM (
    SELECT id, product_id, status, trace_id, lines FROM orders WHERE $1::bigint[] IS NULL OR id = ANY ($1)
) o
FULL JOIN (
    SELECT order_id,
           array_agg(status ORDER BY created_at, status) AS entries,
           array_agg(status ORDER BY status COLLATE "C") FILTER (WHERE status = ANY ($3)) AS statuses,
           max(created_at) FILTER (WHERE status = 'pending') AS pending_at,
           max(created_at) FILTER (WHERE status = 'held') AS held_at,
           max(created_at) FILTER (WHERE status IN ('done', 'rejected', 'expired')) AS ended_at,
           max(created_at) FILTER (WHERE status = 'cancelled') AS cancelled_at
    FROM order_history
    WHERE $1::bigint[] IS NULL OR order_id = ANY ($1)
    GROUP BY order_id
) h ON h.order_id = o.id
LEFT JOIN (
    SELECT order_id, array_agg('product ' || product_id || ' ' || status ORDER BY product_id) AS copies
    FROM order_products
    WHERE $1::bigint[] IS NULL OR order_id = ANY ($1)
    GROUP BY order_id
) l ON l.order_id = coalesce(o.id, h.order_id)
WHERE NOT coalesce(
    CASE o.status
        WHEN 'pending' THEN h.statuses = '{pending}'
        WHEN 'held' THEN h.statuses = '{held,pending}'
        WHEN 'done' THEN array_remove(h.statuses, 'held') = '{done,pending}'
        WHEN 'rejected' THEN h.statuses = '{pending,rejected}'
        WHEN 'expired' THEN h.statuses = '{expired,held,pending}'
        WHEN 'cancelled' THEN array_remove(h.statuses, 'held') IN ('{cancelled,pending}', '{cancelled,done,pending}')
        ELSE o.status <> ALL ($3)
    END,
    false
)
OR h.pending_at > least(h.held_at, h.ended_at, h.cancelled_at) + interval '10 seconds'
OR h.held_at > least(h.ended_at, h.cancelled_at) + interval '10 seconds'
OR h.ended_at > h.cancelled_at + interval '10 seconds'
OR num_nonnulls(l.copies, o.lines) > 0 AND coalesce(l.copies, '{}') <> ARRAY(
    SELECT 'product ' || (line ->> 'productId') || ' ' || o.status FROM json_array_elements(o.lines) AS line
    ORDER BY (line ->> 'productId')::bigint
)
ORDER BY order_id
LIMIT $2
"""


async def history(orders: Session, order_ids: Ids) -> list[Difference]:
    """Orders whose history does not lead to their status, or whose products are not listed with it."""
    return [
        Difference(
            Kind.HISTORY,
            found=f"{_state('order', row['status'])}: {', '.join(row['entries'] or ['no history'])}",
            expected=f"pending first, {row['status']} last and of each product" if row["status"] else "an order",
            product_id=row["product_id"],
            order_id=row["order_id"],
            trace_id=row["trace_id"],
        )
        for row in await orders.fetch(_HISTORY, order_ids, MOST_KEPT + 1, list(OrderStatus))
    ]


# An Order and a Reservation in SQL.
ORDER = """id,
       CASE WHEN lines IS NULL THEN ARRAY[(product_id, quantity, product_uid)] ELSE ARRAY(
           SELECT ((line ->> 'productId')::bigint, (line ->> 'quantity')::integer, (line ->> 'productUid')::uuid)
           FROM json_array_elements(lines) AS line
       ) END AS lines,
       status, trace_id, extract(epoch FROM now() - updated_at)::float8 AS seconds, uid"""
RESERVATION = """order_id, array_agg((product_id, quantity)) AS lines,
       CASE WHEN bool_or(held) THEN 'held' ELSE min(outcome) END AS outcome, (array_agg(order_uid))[1] AS uid"""

ORDERS = f"SELECT {ORDER} FROM orders WHERE $1::bigint[] IS NULL OR id = ANY ($1)"
# This and RESERVATIONS walk primary keys.
ORDERS_AND_ARCHIVED = f"""
({ORDERS} ORDER BY id)
UNION ALL
(
    SELECT id, ARRAY[]::record[], 'archived'::text, ''::text, 0::float8, uid
    FROM archived_orders WHERE $1::bigint[] IS NULL OR id = ANY ($1) ORDER BY id
)
ORDER BY id
"""
RESERVATIONS = f"""
SELECT {RESERVATION}
FROM (SELECT * FROM reservations WHERE $1::bigint[] IS NULL OR order_id = ANY ($1) ORDER BY order_id, line) line
GROUP BY order_id
ORDER BY order_id
"""


def with_lines(kind: type[Claim], row: asyncpg.Record) -> Claim:
    order_id, lines, *others = row
    return kind(order_id, tuple(starmap(Line, lines)), *others)


_TRACES = "SELECT id, trace_id FROM orders WHERE id = ANY ($1::bigint[])"


async def with_traces(orders: Session, differences: Iterable[Difference]) -> list[Difference]:
    """Gives differences that were found in products-db the trace of their order."""
    ids = [d.order_id for d in differences if d.trace_id is None and d.order_id is not None]
    traces = {row["id"]: row["trace_id"] for row in await orders.fetch(_TRACES, ids)} if ids else {}
    return [d if d.trace_id is not None else replace(d, trace_id=traces.get(d.order_id)) for d in differences]


def _state(noun: str, state: str | None) -> str:
    return f"no {noun}" if state is None else f"{noun} {state}"
