"""The rows of products-db. Each function takes a connection; its caller owns the transaction.

A change of several tables is one statement, so one round trip, and it writes its event into the outbox.
"""

from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any

import asyncpg
import orjson

from products.domain import Movement, Product
from products.settlement import Claim, Line, OnHand, Reservation, Settlement, Shortage
from products.views import answer_data
from shared.contracts.fields import MAX_STOCK
from shared.db import Connection, columns
from shared.idempotency import Key

# The number of the newest file in migrations/products.
SCHEMA = 9

_COLUMNS = "id, uid, name, price, qty, held, version, created_at, updated_at"

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
WITH found AS (
    SELECT {_COLUMNS} FROM products
    WHERE id = $1 AND ($4::bigint[] IS NULL OR version = ANY ($4::bigint[]))
    FOR NO KEY UPDATE
), changed AS (
    UPDATE products
    SET name = coalesce($2, name), price = coalesce($3, price), version = version + 1, updated_at = now()
    WHERE id = (SELECT id FROM found) AND (name, price) IS DISTINCT FROM (coalesce($2, name), coalesce($3, price))
    RETURNING {_COLUMNS}
), announced AS (
    INSERT INTO outbox (type, payload, traceparent)
    SELECT 'product.updated', json_build_object('productId', id, 'name', name, 'price', price::text), $5::text
    FROM changed
)
SELECT {_COLUMNS} FROM changed UNION ALL SELECT {_COLUMNS} FROM found WHERE NOT EXISTS (SELECT FROM changed)
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
    """Writes the product and the event `product.updated`; None if it does not exist in one of the versions.

    Writes nothing if the product is so already: a version that nobody changed stays.
    """
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
SELECT order_id, product_id, quantity, outcome, reason, order_uid::text, held, available
FROM reservations WHERE order_id = ANY ($1::bigint[]) ORDER BY order_id, line
"""


async def reservations(connection: Connection, order_ids: Sequence[int]) -> dict[int, Reservation]:
    """Reservations made before, by order id."""
    rows = await connection.fetch(GET_RESERVATIONS, order_ids)
    return {order_id: _reservation(list(lines)) for order_id, lines in groupby(rows, itemgetter("order_id"))}


def _reservation(rows: Sequence[asyncpg.Record]) -> Reservation:
    first = rows[0]
    return Reservation(
        first["order_id"],
        tuple(Line(row["product_id"], row["quantity"]) for row in rows),
        first["outcome"],
        first["reason"],
        first["order_uid"],
        first["held"],
        tuple(
            Shortage(row["product_id"], row["quantity"], row["available"])
            for row in rows
            if row["available"] is not None
        ),
    )


# $1 to $9 hold one element for each line of a new reservation, $10 and $11 one for each reservation that is released
# or confirmed, $12 to $15 one for each movement, $16 to $18 one for each product whose stock changes.
SETTLE = """
WITH made AS (
    INSERT INTO reservations (order_id, line, product_id, quantity, outcome, reason, order_uid, held, available)
    SELECT * FROM unnest(
        $1::bigint[], $2::smallint[], $3::bigint[], $4::integer[], $5::text[], $6::text[], $7::uuid[], $8::boolean[],
        $9::bigint[]
    )
), changed AS (
    UPDATE reservations SET outcome = change.outcome, held = false
    FROM unnest($10::bigint[], $11::text[]) AS change (order_id, outcome)
    WHERE reservations.order_id = change.order_id
), moved AS (
    INSERT INTO stock_movements (product_id, order_id, kind, delta)
    SELECT * FROM unnest($12::bigint[], $13::bigint[], $14::text[], $15::integer[])
)
UPDATE products
SET qty = products.qty + change.delta, held = products.held + change.held, updated_at = now()
FROM unnest($16::bigint[], $17::bigint[], $18::bigint[]) AS change (product_id, delta, held)
WHERE products.id = change.product_id
"""


async def settle(connection: Connection, settlement: Settlement) -> None:
    """Writes reservations and movements, and each product once, however many orders changed its stock."""
    changes = settlement.stock_changes
    lines = [row for made in settlement.made for row in _rows(made)]
    await connection.execute(
        SETTLE,
        *(zip(*lines, strict=True) if lines else [()] * 9),
        *columns(settlement.changed, "order_id", "outcome"),
        *columns(settlement.movements, "product_id", "order_id", "kind", "delta"),
        list(changes),
        list(changes.values()),
        [settlement.holds.get(product_id, 0) for product_id in changes],
    )


def _rows(made: Reservation) -> Iterator[tuple[Any, ...]]:
    available = {shortage.product_id: shortage.available for shortage in made.shortages}
    for number, line in enumerate(made.lines):
        yield (
            made.order_id,
            number,
            line.product_id,
            line.quantity,
            made.outcome,
            made.reason,
            made.order_uid,
            made.held,
            available.get(line.product_id),
        )


ANNOUNCE = """
SELECT nextval('outbox_id_seq') AS id, 'order.updated' AS type, *, now() AS created_at, 0 AS attempts
FROM unnest($1::json[], $2::text[]) AS answer (payload, traceparent)
"""


async def announce(connection: Connection, answers: Sequence[tuple[Claim, Reservation]]) -> list[asyncpg.Record]:
    """An event `order.updated` for each claim, under its traceparent, as a row of the outbox and not in it."""
    payloads = [orjson.dumps(answer_data(reservation)).decode() for _, reservation in answers]
    return await connection.fetch(ANNOUNCE, payloads, [claim.traceparent for claim, _ in answers])


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
