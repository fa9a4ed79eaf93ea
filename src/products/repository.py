"""The rows of products-db. Each function takes a connection; its caller owns the transaction.

A change of several tables is one statement, so one round trip, and it writes its event into the outbox.
"""

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

import asyncpg
import orjson

from products.domain import Movement, Product
from products.settlement import Claim, OnHand, Reservation, Settlement
from shared.contracts.fields import MAX_STOCK
from shared.db import Connection, columns
from shared.idempotency import Key

# The number of the newest file in migrations/products.
SCHEMA = 6

_COLUMNS = "id, uid, name, price, qty, version, created_at, updated_at"

CREATE = f"""
WITH created AS (
    INSERT INTO products (name, price, qty)
    VALUES ($1, $2, $3)
    RETURNING {_COLUMNS}
), moved AS (
    INSERT INTO stock_movements (product_id, kind, delta)
    SELECT id, 'initial', qty FROM created
), announced AS (
    INSERT INTO outbox (type, payload, traceparent)
    SELECT 'product.created', json_build_object('productId', id, 'name', name, 'price', price::text), $4::text
    FROM created
)
SELECT {_COLUMNS} FROM created
"""


async def create(connection: Connection, name: str, price: Decimal, qty: int, traceparent: str) -> Product:
    """Writes the product, its first stock movement and the event `product.created`."""
    [row] = await connection.fetch(CREATE, name, price, qty, traceparent)
    return Product(**row)


# $4 holds the versions that the client allows, NULL for any.
CHANGE = f"""
WITH changed AS (
    UPDATE products
    SET name = coalesce($2, name), price = coalesce($3, price), version = version + 1, updated_at = now()
    WHERE id = $1 AND ($4::bigint[] IS NULL OR version = ANY ($4::bigint[]))
    RETURNING {_COLUMNS}
), announced AS (
    INSERT INTO outbox (type, payload, traceparent)
    SELECT 'product.updated', json_build_object('productId', id, 'name', name, 'price', price::text), $5::text
    FROM changed
)
SELECT {_COLUMNS} FROM changed
"""


async def change(
    connection: Connection,
    product_id: int,
    name: str | None,
    price: Decimal | None,
    *,
    versions: Collection[int] | None,
    traceparent: str,
) -> Product | None:
    """Writes the product and the event `product.updated`; None if it does not exist in one of the versions."""
    allowed = None if versions is None else list(versions)
    return _product(await connection.fetchrow(CHANGE, product_id, name, price, allowed, traceparent))


# $4 is the upper limit of the stock. A product that is above it may still lose stock.
ADJUST = f"""
WITH changed AS (
    UPDATE products
    SET qty = qty + $2::integer, updated_at = now()
    WHERE id = $1 AND qty + $2::integer >= 0 AND ($2::integer < 0 OR qty + $2::integer <= $4::bigint)
    RETURNING {_COLUMNS}
), moved AS (
    INSERT INTO stock_movements (product_id, kind, delta, reason)
    SELECT id, 'adjustment', $2::integer, $3::text FROM changed
)
SELECT {_COLUMNS} FROM changed
"""


async def adjust(connection: Connection, product_id: int, delta: int, reason: str) -> Product | None:
    """Writes the product and a stock movement; None if it does not exist or its stock would leave the limits."""
    return _product(await connection.fetchrow(ADJUST, product_id, delta, reason, MAX_STOCK))


async def get(connection: Connection, product_id: int) -> Product | None:
    return _product(await connection.fetchrow(f"SELECT {_COLUMNS} FROM products WHERE id = $1", product_id))


# walks products_pkey
LIST = f"SELECT {_COLUMNS} FROM products WHERE id < $1 ORDER BY id DESC LIMIT $2"


async def page(connection: Connection, below_id: int, rows: int) -> list[Product]:
    """Newest first."""
    return [Product(**row) for row in await connection.fetch(LIST, below_id, rows)]


async def selected(connection: Connection, product_ids: Sequence[int]) -> list[Product]:
    """In no particular order."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM products WHERE id = ANY ($1::bigint[])", product_ids)
    return [Product(**row) for row in rows]


# walks stock_movements_pkey
LIST_MOVEMENTS = """
SELECT id, kind, delta, order_id, reason, created_at
FROM stock_movements WHERE product_id = $3 AND id < $1 ORDER BY id DESC LIMIT $2
"""


async def movements(connection: Connection, product_id: int, below_id: int, rows: int) -> list[Movement]:
    """Newest first."""
    return [Movement(**row) for row in await connection.fetch(LIST_MOVEMENTS, below_id, rows, product_id)]


# Rows are locked in the order of their ids, so that two batches never wait for each other in a circle.
LOCK_STOCK = "SELECT id, qty, uid::text FROM products WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE"
LOCK_FREE_STOCK = f"{LOCK_STOCK} SKIP LOCKED"


async def lock_stock(
    connection: Connection, product_ids: Collection[int], statement: str = LOCK_STOCK
) -> dict[int, OnHand]:
    """The stock of the products that exist, by id. No other transaction changes it until this one ends."""
    rows = await connection.fetch(statement, list(product_ids))
    return {row["id"]: OnHand(row["qty"], row["uid"]) for row in rows}


async def lock_free_stock(connection: Connection, product_ids: Collection[int]) -> tuple[dict[int, OnHand], set[int]]:
    """Like `lock_stock`, without waiting; and the ids of the products that others have locked."""
    stock = await lock_stock(connection, product_ids, LOCK_FREE_STOCK)
    # The look comes after the locks: what is seen now and was not locked then is not a product that does not exist.
    rows = await connection.fetch("SELECT id FROM products WHERE id = ANY ($1::bigint[])", list(product_ids))
    return stock, {row["id"] for row in rows} - stock.keys()


GET_RESERVATIONS = """
SELECT order_id, product_id, quantity, outcome, reason, order_uid::text
FROM reservations WHERE order_id = ANY ($1::bigint[])
"""


async def reservations(connection: Connection, order_ids: Sequence[int]) -> dict[int, Reservation]:
    """Reservations made before, by order id."""
    rows = await connection.fetch(GET_RESERVATIONS, order_ids)
    return {row["order_id"]: Reservation(**row) for row in rows}


# $1 to $6 hold one element for each new reservation, $7 the orders whose reservation ends, $8 to $11 one element for
# each movement, $12 and $13 one for each product whose stock changes.
SETTLE = """
WITH made AS (
    INSERT INTO reservations (order_id, product_id, quantity, outcome, reason, order_uid)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::text[], $5::text[], $6::uuid[])
), ended AS (
    UPDATE reservations SET outcome = 'released' WHERE order_id = ANY ($7::bigint[])
), moved AS (
    INSERT INTO stock_movements (product_id, order_id, kind, delta)
    SELECT * FROM unnest($8::bigint[], $9::bigint[], $10::text[], $11::integer[])
)
UPDATE products
SET qty = products.qty + change.delta, updated_at = now()
FROM unnest($12::bigint[], $13::bigint[]) AS change (product_id, delta)
WHERE products.id = change.product_id
"""


async def settle(connection: Connection, settlement: Settlement) -> None:
    """Writes reservations and movements, and each product once, however many orders changed its stock."""
    changes = settlement.changes
    await connection.execute(
        SETTLE,
        *columns(settlement.made, "order_id", "product_id", "quantity", "outcome", "reason", "order_uid"),
        settlement.ended,
        *columns(settlement.movements, "product_id", "order_id", "kind", "delta"),
        list(changes),
        list(changes.values()),
    )


ANNOUNCE = """
INSERT INTO outbox (type, payload, traceparent)
SELECT 'order.updated',
       json_build_object(
           'orderId', order_id,
           'orderUid', order_uid,
           'productId', product_id,
           'status', CASE outcome WHEN 'reserved' THEN 'done' ELSE 'rejected' END,
           'reason', reason
       ),
       traceparent
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::uuid[], $5::text[], $6::text[])
    AS o (order_id, product_id, traceparent, order_uid, outcome, reason)
"""


async def announce(connection: Connection, answers: Sequence[tuple[Claim, Reservation]]) -> None:
    """Writes an event `order.updated` for each claim, under its traceparent."""
    await connection.execute(
        ANNOUNCE,
        *columns([claim for claim, _ in answers], "order_id", "product_id", "traceparent", "order_uid"),
        *columns([reservation for _, reservation in answers], "outcome", "reason"),
    )


# It waits for a transaction that has taken the key, and writes in any case, so that the commit confirms the answer.
TAKE_KEY = """
INSERT INTO idempotency_keys AS kept (key, request_hash, answer) VALUES ($1, $2, 'null')
ON CONFLICT (key) DO UPDATE SET answer = kept.answer
RETURNING request_hash, answer
"""


async def take_key(connection: Connection, key: Key) -> Any:
    """The first answer; None, and then `keep_answer` has to follow, if the key was not used before.

    Raises AppError IDEMPOTENCY_MISMATCH if it was used for another request.
    """
    [row] = await connection.fetch(TAKE_KEY, key.value, key.request_hash)
    key.check(row["request_hash"])
    return orjson.loads(row["answer"])


async def keep_answer(connection: Connection, key: Key, answer: bytes) -> None:
    """Takes JSON."""
    statement = "UPDATE idempotency_keys SET answer = $2 WHERE key = $1"
    await connection.execute(statement, key.value, answer.decode())


# Deletes expired keys, at most $1 at a time (`shared.db.purge`).
FORGET_KEYS = """
DELETE FROM idempotency_keys
WHERE key IN (
    SELECT key FROM idempotency_keys
    WHERE created_at < now() - interval '24 hours'
    ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
"""


def _product(row: asyncpg.Record | None) -> Product | None:
    return Product(**row) if row else None
