"""The SQL of the order service. Statements that write several tables are one statement, so one round trip."""

_COLUMNS = """
SELECT id, product_id, quantity, unit_price, total_price, status, reason, trace_id, created_at, updated_at
FROM orders
"""

# One element of $1 to $5 for each order. The ids are drawn first, so that the rows come back in the order they went.
PLACE_ORDERS = """
WITH draft AS MATERIALIZED (
    SELECT nextval('orders_id_seq') AS id, d.*
    FROM unnest($1::bigint[], $2::integer[], $3::numeric[], $4::text[], $5::text[])
        WITH ORDINALITY AS d (product_id, quantity, unit_price, trace_id, traceparent, position)
), placed AS (
    INSERT INTO orders (id, product_id, quantity, unit_price, total_price, trace_id)
    SELECT id, product_id, quantity, unit_price, unit_price * quantity, trace_id FROM draft
), noted AS (
    INSERT INTO order_history (order_id, status, trace_id)
    SELECT id, 'pending', trace_id FROM draft
), announced AS (
    INSERT INTO outbox (type, payload, traceparent)
    SELECT 'order.created',
           json_build_object('orderId', id, 'productId', product_id, 'quantity', quantity),
           traceparent
    FROM draft
)
SELECT id, now() FROM draft ORDER BY position
"""

# A status that is final stays: a late or repeated verdict changes nothing.
APPLY_VERDICTS = """
WITH verdict AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[])
        AS v (order_id, status, reason, trace_id)
), changed AS (
    UPDATE orders
    SET status = verdict.status, reason = verdict.reason, updated_at = now()
    FROM verdict
    WHERE orders.id = verdict.order_id AND orders.status = 'pending'
    RETURNING orders.id, orders.product_id, orders.status, orders.reason, verdict.trace_id
), noted AS (
    INSERT INTO order_history (order_id, status, reason, trace_id)
    SELECT id, status, reason, trace_id FROM changed
)
SELECT product_id, status FROM changed
"""

GET_ORDER = f"{_COLUMNS} WHERE id = $1"

# Newest first, below the cursor; each walks the index named.
LIST_ORDERS = f"{_COLUMNS} WHERE id < $1 ORDER BY id DESC LIMIT $2"  # orders_pkey
LIST_BY_STATUS = f"{_COLUMNS} WHERE status = $3 AND id < $1 ORDER BY id DESC LIMIT $2"  # orders_status
LIST_BY_PRODUCT = f"{_COLUMNS} WHERE product_id = $3 AND id < $1 ORDER BY id DESC LIMIT $2"  # orders_product
LIST_BY_PRODUCT_AND_STATUS = f"""
{_COLUMNS} WHERE product_id = $3 AND status = $4 AND id < $1 ORDER BY id DESC LIMIT $2
"""  # orders_product_status
