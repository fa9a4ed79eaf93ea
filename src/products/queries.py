"""The SQL of the product service. Statements that write several tables are one statement, so one round trip."""

# Index: products_pkey (primary key), backwards from the cursor for the list.
GET_PRODUCT = """
SELECT id, name, price, qty, version, created_at, updated_at
FROM products
WHERE id = $1
"""

LIST_PRODUCTS = """
SELECT id, name, price, qty, version, created_at, updated_at
FROM products
WHERE id < $1
ORDER BY id DESC
LIMIT $2
"""

CREATE_PRODUCT = """
WITH created AS (
    INSERT INTO products (name, price, qty)
    VALUES ($1, $2, $3)
    RETURNING id, name, price, qty, version, created_at, updated_at
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
SELECT id, name, price, qty, version, created_at, updated_at FROM created
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
SELECT order_id, outcome, reason
FROM reservations
WHERE order_id = ANY ($1::bigint[])
"""

# $1 to $5: one element for each new claim. $6, $7: one for each product that loses stock.
TAKE_STOCK = """
WITH claim AS (
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::text[], $5::text[])
        AS c (order_id, product_id, quantity, outcome, reason)
), reserved AS (
    INSERT INTO reservations (order_id, product_id, quantity, outcome, reason)
    SELECT order_id, product_id, quantity, outcome, reason FROM claim
), moved AS (
    INSERT INTO stock_movements (product_id, order_id, kind, delta)
    SELECT product_id, order_id, 'reserve', -quantity FROM claim WHERE outcome = 'reserved'
)
UPDATE products
SET qty = products.qty - taken.quantity, version = version + 1, updated_at = now()
FROM unnest($6::bigint[], $7::integer[]) AS taken (product_id, quantity)
WHERE products.id = taken.product_id
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
