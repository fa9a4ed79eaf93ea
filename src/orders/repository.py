"""The rows of orders-db. Each function takes a connection; its caller owns the transaction.

A change of several tables is one statement, so one round trip, and it writes its event into the outbox.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from orders.domain import Draft, HistoryEntry, Order, Verdict
from shared.contracts.fields import MAX_HOLD
from shared.contracts.requests import OrderStatus
from shared.db import Connection, columns
from shared.idempotency import Key
from shared.tracing import Trace

# The number of the newest file in migrations/orders.
SCHEMA = 12

_COLUMNS = """id, product_id, quantity, unit_price, total_price, status, reason, trace_id, created_at, updated_at,
    customer_id, reference, metadata, lines, expires_at, shortages"""
_SELECT = f"SELECT {_COLUMNS} FROM orders"
# Of an order `o`: that of one product is announced as it always was.
_EVENT_DATA = """CASE WHEN o.lines IS NULL AND o.expires_at IS NULL
    THEN json_build_object(
        'orderId', o.id, 'orderUid', o.uid, 'productId', o.product_id, 'productUid', o.product_uid,
        'quantity', o.quantity
    )
    ELSE json_strip_nulls(json_build_object(
        'orderId', o.id, 'orderUid', o.uid, 'productId', o.product_id, 'productUid', o.product_uid,
        'quantity', o.quantity, 'lines', o.lines, 'held', o.expires_at IS NOT NULL
    ))
END"""

_KEY = "(idempotency_key) WHERE idempotency_key IS NOT NULL"
_UNLESS_TAKEN = f"ON CONFLICT {_KEY} DO NOTHING"
_SORTED = "ORDER BY idempotency_key NULLS FIRST, position"
# $1 to $14 hold one element for each order. Ids are drawn first, so that rows come back in the order of the drafts.
# An order whose key is taken is not placed. Keys are written in sorted order, so that two batches with common keys
# never wait for each other in a circle.
PLACE = f"""
WITH draft AS MATERIALIZED (
    SELECT nextval('orders_id_seq') AS id, now() + hold_seconds * interval '1 second' AS expires_at, d.*
    FROM unnest(
        $1::uuid[], $2::bigint[], $3::uuid[], $4::integer[], $5::numeric[], $6::json[], $7::text[], $8::text[],
        $9::bytea[], $10::text[], $11::text[], $12::text[], $13::json[], $14::integer[]
    ) WITH ORDINALITY AS d (
        uid, product_id, product_uid, quantity, unit_price, lines, trace_id, idempotency_key, request_hash,
        traceparent, customer_id, reference, metadata, hold_seconds, position
    )
), placed AS (
    INSERT INTO orders (
        id, uid, product_id, product_uid, quantity, unit_price, total_price, trace_id, idempotency_key, request_hash,
        customer_id, reference, metadata, lines, expires_at
    )
    SELECT
        id, uid, product_id, product_uid, quantity, unit_price,
        coalesce(unit_price * quantity, (
            SELECT sum((line ->> 'unitPrice')::numeric * (line ->> 'quantity')::integer)
            FROM json_array_elements(lines) AS line
        )),
        trace_id, idempotency_key, request_hash, customer_id, reference, metadata, lines, expires_at
    FROM draft
    {_SORTED}
    {_UNLESS_TAKEN}
    RETURNING id, created_at
), listed AS (
    INSERT INTO order_products (order_id, product_id, status)
    SELECT id, (line ->> 'productId')::bigint, 'pending'
    FROM placed JOIN draft USING (id), json_array_elements(lines) AS line
), announced AS (
    INSERT INTO outbox (type, payload, traceparent)
    SELECT 'order.created', {_EVENT_DATA}, traceparent FROM placed JOIN draft AS o USING (id)
)
SELECT placed.id, placed.created_at FROM draft LEFT JOIN placed ON placed.id = draft.id ORDER BY draft.position
"""
# Where no order has a key, each row is spared what PostgreSQL writes to take it back.
PLACE_WITHOUT_KEYS = PLACE.replace(_UNLESS_TAKEN, "")
# Nor is one whose reference is taken, or its identity because it is placed again: that asks every unique index, which
# an order without a reference is spared. References cannot be sorted too, so each is locked before any row is written.
_REFERENCES_LOCKED = """0 <= (
        SELECT count(pg_advisory_xact_lock(hash)::text)
        FROM (SELECT DISTINCT hashtextextended(reference, 0) AS hash FROM draft ORDER BY hash) AS of_references
        WHERE hash IS NOT NULL
    )"""
PLACE_UNLESS_KNOWN = PLACE.replace(_KEY, "").replace(_SORTED, f"WHERE {_REFERENCES_LOCKED} {_SORTED}")


async def place(connection: Connection, drafts: Sequence[Draft], *, again: bool = False) -> list[Order | None]:
    """Writes orders and the events `order.created`.

    Returns one element for each draft, in order: None if another order has its key or its reference.
    """
    statement = PLACE if any(draft.key for draft in drafts) else PLACE_WITHOUT_KEYS
    if again or any(draft.terms.reference for draft in drafts):
        statement = PLACE_UNLESS_KNOWN
    rows = await connection.fetch(
        statement,
        *columns(drafts, "uid", "product_id", "product_uid", "quantity", "unit_price", "lines", "trace_id"),
        [draft.key.value if draft.key else None for draft in drafts],
        [draft.key.request_hash if draft.key else None for draft in drafts],
        *columns(drafts, "traceparent", "terms.customer_id", "terms.reference", "terms.metadata"),
        *columns(drafts, "terms.hold_seconds"),
    )
    return [draft.placed(*row) if row["id"] else None for draft, row in zip(drafts, rows, strict=True)]


# Each `FOR UPDATE` here writes, so that the commit confirms the rows that it returns.
LOCK_BY_UID = f"SELECT uid::text, {_COLUMNS} FROM orders WHERE uid = ANY ($1::uuid[]) ORDER BY id FOR UPDATE"


async def place_again(connection: Connection, drafts: Sequence[Draft]) -> list[Order | None]:
    """Like `place`, in a transaction, for drafts that another may have placed or may be placing: it waits for that."""
    stored = await place(connection, drafts, again=True)
    missing = {draft.uid: draft for draft, order in zip(drafts, stored, strict=True) if order is None}
    rows = [dict(row) for row in await connection.fetch(LOCK_BY_UID, list(missing))] if missing else []
    earlier = {uid: Order(**row).as_placed(missing[uid].terms) for row in rows if (uid := row.pop("uid"))}
    return [order or earlier.get(draft.uid) for draft, order in zip(drafts, stored, strict=True)]


# What `order_history` does not see in the orders in `changed`, and the copies of their status.
_NOTED = """noted AS (
    INSERT INTO order_entries (order_id, status, reason, trace_id)
    SELECT id, status, reason, noted_by FROM changed WHERE noted_by IS DISTINCT FROM trace_id
), listed AS (
    UPDATE order_products AS listed SET status = changed.status
    FROM changed WHERE changed.lines IS NOT NULL AND listed.order_id = changed.id
)"""
# A verdict is of the order that has its number and, unless an older release placed that or decided it, its identity.
_IS_OF = """verdict.product_id IS NOT DISTINCT FROM orders.product_id
    AND (verdict.order_uid = orders.uid) IS NOT FALSE"""

# What is decided stays: a late or repeated verdict changes nothing.
APPLY = f"""
WITH verdict AS (
    SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::json[], $7::text[])
        AS v (order_id, order_uid, product_id, status, reason, shortages, trace_id)
), changed AS (
    UPDATE orders
    SET status = verdict.status, reason = verdict.reason, shortages = verdict.shortages, updated_at = now()
    FROM verdict
    WHERE orders.id = verdict.order_id AND orders.status = 'pending' AND {_IS_OF}
    RETURNING orders.id, orders.status, orders.reason, orders.trace_id, orders.lines, verdict.trace_id AS noted_by,
        extract(epoch FROM now() - created_at)::float8 AS age
), {_NOTED}
SELECT id, status, age, trace_id FROM changed
"""


async def apply(connection: Connection, verdicts: Sequence[Verdict]) -> dict[int, tuple[str, float, str]]:
    """Returns the new status of each order that was pending by its id, with its age in seconds and its trace id."""
    fields = columns(verdicts, "order_id", "order_uid", "product_id", "status", "reason", "shortages", "trace_id")
    rows = await connection.fetch(APPLY, *fields)
    return {row["id"]: (row["status"], row["age"], row["trace_id"]) for row in rows}


LOCK_FREE = "SELECT id FROM orders WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"


async def lock_free(connection: Connection, order_ids: Collection[int]) -> set[int]:
    """Locks those orders that others have not locked, without waiting; returns the ids of those that they have."""
    free = await connection.fetch(LOCK_FREE, list(order_ids))
    found = await connection.fetch("SELECT id FROM orders WHERE id = ANY ($1::bigint[])", list(order_ids))
    return {row["id"] for row in found} - {row["id"] for row in free}


CONFLICTING = f"""
SELECT position - 1 AS position
FROM unnest($1::bigint[], $2::uuid[], $3::bigint[])
    WITH ORDINALITY AS verdict (order_id, order_uid, product_id, position)
JOIN orders ON orders.id = verdict.order_id AND NOT ({_IS_OF})
"""


async def conflicting(connection: Connection, verdicts: Sequence[Verdict]) -> list[int]:
    """The positions of the verdicts whose number another order has."""
    rows = await connection.fetch(CONFLICTING, *columns(verdicts, "order_id", "order_uid", "product_id"))
    return [row["position"] for row in rows]


def _transition(status: str, allowed: str) -> str:
    """$1 to $3 hold one element for each order; `allowed` names the status that it comes from."""
    event = "confirmed" if status == "done" else status
    return f"""
WITH asked AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[]) AS a (order_id, noted_by, traceparent)
), changed AS (
    UPDATE orders SET status = '{status}', reason = NULL, updated_at = now()
    FROM asked
    WHERE id = asked.order_id AND {allowed}
    RETURNING {_COLUMNS}, uid, product_uid, noted_by, traceparent
), {_NOTED}, announced AS (
    INSERT INTO outbox (type, payload, traceparent)
    SELECT 'order.{event}', {_EVENT_DATA}, traceparent FROM changed AS o
)
SELECT {_COLUMNS} FROM changed
"""


CANCEL = _transition("cancelled", "(status IN ('pending', 'done') OR status = 'held' AND expires_at > now())")
CONFIRM = _transition("done", "status = 'held' AND expires_at > now()")
EXPIRE = _transition("expired", "status = 'held' AND expires_at <= now()")


async def change_status(connection: Connection, statement: str, orders: Sequence[tuple[int, Trace]]) -> list[Order]:
    """Runs CANCEL, CONFIRM or EXPIRE, which also write history and event; returns the orders that were changed."""
    order_ids = [order_id for order_id, _ in orders]
    rows = await connection.fetch(
        statement, order_ids, *columns([trace for _, trace in orders], "trace_id", "traceparent")
    )
    return [Order(**row) for row in rows]


# walks orders_held: no other index has its condition, so that the planner does not read all that are held while its
# statistics are old; what others change at this moment, or expire, is left to them
LOCK_OVERDUE = """
SELECT id, trace_id FROM orders WHERE (status = 'held') IS TRUE AND expires_at <= now()
ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""


async def lock_overdue(connection: Connection, rows: int) -> list[tuple[int, str]]:
    """Id and trace id of held orders whose end has come."""
    return [(row["id"], row["trace_id"]) for row in await connection.fetch(LOCK_OVERDUE, rows)]


EXTEND = f"""
UPDATE orders SET expires_at = now() + $2 * interval '1 second'
WHERE id = $1 AND status = 'held' AND expires_at > now()
    AND now() + $2 * interval '1 second' <= created_at + {MAX_HOLD} * interval '1 second'
RETURNING {_COLUMNS}
"""


async def extend(connection: Connection, order_id: int, seconds: int) -> Order | None:
    """None if the order is not held, or would be for too long."""
    row = await connection.fetchrow(EXTEND, order_id, seconds)
    return Order(**row) if row else None


async def get(connection: Connection, order_id: int) -> Order | None:
    row = await connection.fetchrow(f"{_SELECT} WHERE id = $1", order_id)
    return Order(**row) if row else None


# What is locked is written, so the commit confirms what is read.
LOCK = f"{_SELECT} WHERE id = $1 FOR UPDATE"


async def lock(connection: Connection, order_id: int, trace: Trace) -> Order | None:
    """Ends a hold that is over, unless another has done it: what is told of the order is what is stored."""
    if expired := await change_status(connection, EXPIRE, [(order_id, trace)]):
        return expired[0]
    row = await connection.fetchrow(LOCK, order_id)
    return Order(**row) if row else None


FIND_BY_KEY = f"SELECT request_hash, {_COLUMNS} FROM orders WHERE idempotency_key = $1 FOR UPDATE"


async def find_by_key(connection: Connection, key: Key) -> Order | None:
    """Raises AppError IDEMPOTENCY_MISMATCH if the key was used for another request."""
    row = await connection.fetchrow(FIND_BY_KEY, key.value)
    if row is None:
        return None
    order = dict(row)
    key.check(order.pop("request_hash"))
    return Order(**order)


FIND_BY_REFERENCE = "SELECT id FROM orders WHERE reference = $1 FOR UPDATE"


async def find_by_reference(connection: Connection, reference: str) -> int | None:
    order_id: int | None = await connection.fetchval(FIND_BY_REFERENCE, reference)
    return order_id


# The time of the last change stays: by it the sweeper and reconciliation know how long an order has its status.
CHANGE = f"UPDATE orders SET metadata = $2 WHERE id = $1 RETURNING {_COLUMNS}"


async def change(connection: Connection, order_id: int, metadata: str | None) -> Order | None:
    """None if there is no such order."""
    row = await connection.fetchrow(CHANGE, order_id, metadata)
    return Order(**row) if row else None


# Expired keys leave their orders, at most $1 of them at a time (`shared.db.purge`).
FORGET_KEYS = """
UPDATE orders SET idempotency_key = NULL, request_hash = NULL
WHERE id IN (
    SELECT id FROM orders
    WHERE idempotency_key IS NOT NULL AND created_at < now() - interval '24 hours'
    ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
"""

# The order of the statuses, not of the times: a clock may be set back. With a newer release's status the times count.
GET_HISTORY = """
SELECT status, reason, trace_id, created_at,
    CASE status WHEN 'rejected' THEN (SELECT shortages FROM orders WHERE id = $1) END AS shortages
FROM (
    SELECT *, array_position(ARRAY['pending', 'held', 'done', 'rejected', 'expired', 'cancelled'], status) AS position
    FROM order_history WHERE order_id = $1
) AS entry
ORDER BY CASE WHEN count(position) OVER () = count(*) OVER () THEN position END, created_at
"""


async def history(connection: Connection, order_id: int) -> list[HistoryEntry]:
    """Oldest first."""
    return [HistoryEntry(**row) for row in await connection.fetch(GET_HISTORY, order_id)]


# Each statement walks the index named, whatever share of the table it filters. Rows are compared as the index orders
# them, because for `status = $3 … ORDER BY id` the planner may walk all orders and filter.
# walks orders_pkey
LIST = f"{_SELECT} WHERE id < $1 ORDER BY id DESC LIMIT $2"
# walks orders_status
LIST_BY_STATUS = f"{_SELECT} WHERE status >= $3 AND (status, id) < ($3, $1) ORDER BY status DESC, id DESC LIMIT $2"
# The status is a subquery, so that the planner does not take orders_status because it knows that this one is rare.
_OF_PRODUCT_AND_STATUS = """(
        SELECT id FROM orders
        WHERE product_id = $3 AND status >= {0} AND (status, id) < ({0}, $1) ORDER BY status DESC, id DESC LIMIT $2
    )"""
_OF_PRODUCT = " UNION ALL ".join(_OF_PRODUCT_AND_STATUS.format(f"(SELECT '{status}')") for status in OrderStatus)
# walks orders_product_status once for each status, orders_later_status and order_products_product
LIST_BY_PRODUCT = f"""
{_SELECT} WHERE id IN (
    SELECT id FROM (
        {_OF_PRODUCT} UNION ALL (
            SELECT id FROM orders
            WHERE status NOT IN ({", ".join(f"'{status}'" for status in OrderStatus)})
                AND product_id >= $3 AND (product_id, id) < ($3, $1) ORDER BY product_id DESC, id DESC LIMIT $2
        ) UNION ALL (
            SELECT order_id FROM order_products
            WHERE product_id >= $3 AND (product_id, order_id) < ($3, $1)
            ORDER BY product_id DESC, order_id DESC LIMIT $2
        )
    ) AS found ORDER BY id DESC LIMIT $2
) ORDER BY id DESC
"""
# walks orders_product_status and order_products_product_status
LIST_BY_PRODUCT_AND_STATUS = f"""
{_SELECT} WHERE id IN (
    SELECT id FROM (
        {_OF_PRODUCT_AND_STATUS.format("(SELECT $4)")} UNION ALL (
            SELECT order_id FROM order_products
            WHERE product_id = $3 AND status >= $4 AND (status, order_id) < ($4, $1)
            ORDER BY status DESC, order_id DESC LIMIT $2
        )
    ) AS found ORDER BY id DESC LIMIT $2
) ORDER BY id DESC
"""


# walks orders_customer
LIST_BY_CUSTOMER = f"""
{_SELECT} WHERE customer_id >= $3 AND (customer_id, id) < ($3, $1) ORDER BY customer_id DESC, id DESC LIMIT $2
"""
# walks orders_reference, which holds at most one
LIST_BY_REFERENCE = f"{_SELECT} WHERE reference = $3 AND id < $1 LIMIT $2"
# By the columns that select, in the order of their parameters.
_LISTS = {
    (): LIST,
    ("status",): LIST_BY_STATUS,
    ("product_id",): LIST_BY_PRODUCT,
    ("product_id", "status"): LIST_BY_PRODUCT_AND_STATUS,
    ("customer_id",): LIST_BY_CUSTOMER,
    ("reference",): LIST_BY_REFERENCE,
}


async def page(connection: Connection, below_id: int, rows: int, **selected: str | int | None) -> list[Order]:
    """Newest first, of the orders with these values in the columns named; None selects nothing."""
    given = {name: value for name, value in sorted(selected.items()) if value is not None}
    found = await connection.fetch(_LISTS[tuple(given)], below_id, rows, *given.values())
    return [Order(**row) for row in found]


async def statuses(connection: Connection, order_ids: Sequence[int]) -> dict[int, str]:
    statement = "SELECT id, status FROM orders WHERE id = ANY ($1::bigint[])"
    return {row["id"]: row["status"] for row in await connection.fetch(statement, order_ids)}


async def database_now(connection: Connection) -> datetime:
    """The time by the database's clock, which has set all times in its rows."""
    now: datetime = await connection.fetchval("SELECT now()")
    return now


# walks orders_status
LIST_PENDING = """
SELECT id, trace_id, extract(epoch FROM $3::timestamptz - created_at)::float8 AS age
FROM orders WHERE status = 'pending' AND id > $1 ORDER BY id LIMIT $2
"""


async def pending(connection: Connection, now: datetime, above_id: int, rows: int) -> list[tuple[int, str, float]]:
    """Id, trace id and age in seconds of pending orders, oldest first."""
    found = await connection.fetch(LIST_PENDING, above_id, rows, now)
    return [(row["id"], row["trace_id"], row["age"]) for row in found]


# Orders whose age since the cancellation, the end or the confirmation of their hold passed $1 seconds, or that times a
# power of eight up to a day, in the last $2 seconds. It walks a range of orders_unanswered for each power.
LIST_UNANSWERED = """
SELECT DISTINCT id, trace_id
FROM generate_series(0, greatest(0, floor(log(8, (86400 / $1::float8)::numeric)))::integer) AS step
JOIN orders ON (status IN ('cancelled', 'expired') OR (status = 'done' AND expires_at IS NOT NULL))
    AND updated_at <= $3::timestamptz - $1::float8 * 8 ^ step * interval '1 second'
    AND updated_at > $3::timestamptz - ($1::float8 * 8 ^ step + $2::float8) * interval '1 second'
ORDER BY id
LIMIT $4
"""


async def unanswered(
    connection: Connection, now: datetime, age: float, since: float, rows: int
) -> list[tuple[int, str]]:
    """Id and trace id of the orders whose age passed `age`, or eight times that …, in the last `since` seconds."""
    found = await connection.fetch(LIST_UNANSWERED, age, since, now, rows)
    return [(row["id"], row["trace_id"]) for row in found]


# The event follows from what an order is now, not from what it was when it was found.
ANNOUNCE_AGAIN = f"""
INSERT INTO outbox (type, payload, traceparent)
SELECT
    CASE o.status WHEN 'pending' THEN 'order.created' WHEN 'done' THEN 'order.confirmed' ELSE 'order.' || o.status END,
    {_EVENT_DATA},
    traceparent
FROM unnest($1::bigint[], $2::text[]) AS stuck (order_id, traceparent)
JOIN orders AS o ON o.id = stuck.order_id
    AND (o.status IN ('pending', 'cancelled', 'expired') OR (o.status = 'done' AND o.expires_at IS NOT NULL))
"""


async def announce_again(connection: Connection, orders: Sequence[tuple[int, str]]) -> None:
    """Writes the event of its status for each order, which comes with its traceparent."""
    order_ids = [order_id for order_id, _ in orders]
    await connection.execute(ANNOUNCE_AGAIN, order_ids, [traceparent for _, traceparent in orders])
