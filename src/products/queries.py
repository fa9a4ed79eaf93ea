"""The SQL of the product service. Statements that write several tables are one statement, so one round trip."""

_COLUMNS = "id, name, price, qty, version, created_at, updated_at"

GET_PRODUCT = f"SELECT {_COLUMNS} FROM products WHERE id = $1"

# Newest first, below the cursor; each walks the index named.
LIST_PRODUCTS = f"SELECT {_COLUMNS} FROM products WHERE id < $1 ORDER BY id DESC LIMIT $2"  # products_pkey
LIST_MOVEMENTS = """
SELECT id, kind, delta, order_id, reason, created_at
FROM stock_movements
WHERE product_id = $3 AND id < $1
ORDER BY id DESC
LIMIT $2
"""  # stock_movements_pkey

CREATE_PRODUCT = f"""
WITH created AS (
    INSERT INTO products (name, price, qty)
    VALUES ($1, $2, $3)
    RETURNING {_COLUMNS}
), moved AS (
    INSERT INTO stock_movements (product_id, kind, delta)
    SELECT id, 'initial', qty FROM created
), announced AS (
    INSERT INTO outbox (type, payload, traceparent)
    SELECT 'product.created',
           json_build_object('productId', id, 'name', name, 'price', price::text),
           $4::text
    FROM created
)
SELECT {_COLUMNS} FROM created
"""

# $4 are the versions that the client allows, NULL for any; no row if the product has another, or there is none.
CHANGE_PRODUCT = f"""
WITH changed AS (
    UPDATE products
    SET name = coalesce($2, name), price = coalesce($3, price), version = version + 1, updated_at = now()
    WHERE id = $1 AND ($4::bigint[] IS NULL OR version = ANY ($4::bigint[]))
    RETURNING {_COLUMNS}
), announced AS (
    INSERT INTO outbox (type, payload, traceparent)
    SELECT 'product.updated',
           json_build_object('productId', id, 'name', name, 'price', price::text),
           $5::text
    FROM changed
)
SELECT {_COLUMNS} FROM changed
"""

# No row if the stock would leave its limits, $4 being the upper one, or if there is no such product.
ADJUST_STOCK = f"""
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

# In the order of the ids, so that two batches never wait for each other in a circle.
LOCK_STOCK = """
SELECT id, qty
FROM products
WHERE id = ANY ($1::bigint[])
ORDER BY id
FOR NO KEY UPDATE
"""

GET_RESERVATIONS = """
SELECT order_id, product_id, quantity, outcome, reason
FROM reservations
WHERE order_id = ANY ($1::bigint[])
"""

# $1 to $5: one element for each new reservation. $6: orders whose reservation ends. $7 to $10: movements.
# $11, $12: one element for each product whose stock changes.
SETTLE = """
WITH made AS (
    INSERT INTO reservations (order_id, product_id, quantity, outcome, reason)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::text[], $5::text[])
), ended AS (
    UPDATE reservations SET outcome = 'released' WHERE order_id = ANY ($6::bigint[])
), moved AS (
    INSERT INTO stock_movements (product_id, order_id, kind, delta)
    SELECT * FROM unnest($7::bigint[], $8::bigint[], $9::text[], $10::integer[])
)
UPDATE products
SET qty = products.qty + change.delta, updated_at = now()
FROM unnest($11::bigint[], $12::bigint[]) AS change (product_id, delta)
WHERE products.id = change.product_id
"""

ANNOUNCE_OUTCOMES = """
INSERT INTO outbox (type, payload, traceparent)
SELECT 'order.updated',
       json_build_object(
           'orderId', order_id,
           'productId', product_id,
           'status', CASE outcome WHEN 'reserved' THEN 'done' ELSE 'rejected' END,
           'reason', reason
       ),
       traceparent
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[])
    AS o (order_id, product_id, outcome, reason, traceparent)
"""

GET_FIRST_ANSWER = "SELECT request_hash, answer FROM idempotency_keys WHERE key = $1"

KEEP_ANSWER = "INSERT INTO idempotency_keys (key, request_hash, answer) VALUES ($1, $2, $3)"

FORGET_KEYS = """
DELETE FROM idempotency_keys
WHERE key IN (
    SELECT key
    FROM idempotency_keys
    WHERE created_at < now() - interval '24 hours'
    ORDER BY created_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
"""
