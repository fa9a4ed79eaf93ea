"""The SQL of the order service. Statements that write several tables are one statement, so one round trip."""

_COLUMNS = "id, product_id, quantity, unit_price, total_price, status, reason, trace_id, created_at, updated_at"

# One element of $1 to $7 for each order. The ids are drawn first, so that the rows come back in the order they went.
# An order whose key is taken is not placed; keys are written in their order, so that two batches that share some never
# wait for each other in a circle.
PLACE_ORDERS = """
WITH draft AS MATERIALIZED (
    SELECT nextval('orders_id_seq') AS id, d.*
    FROM unnest($1::bigint[], $2::integer[], $3::numeric[], $4::text[], $5::text[], $6::text[], $7::bytea[])
        WITH ORDINALITY
        AS d (product_id, quantity, unit_price, trace_id, traceparent, idempotency_key, request_hash, position)
), placed AS (
    INSERT INTO orders (id, product_id, quantity, unit_price, total_price, trace_id, idempotency_key, request_hash)
    SELECT id, product_id, quantity, unit_price, unit_price * quantity, trace_id, idempotency_key, request_hash
    FROM draft
    ORDER BY idempotency_key NULLS FIRST, position
    ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, trace_id
), noted AS (
    INSERT INTO order_history (order_id, status, trace_id)
    SELECT id, 'pending', trace_id FROM placed
), announced AS (
    INSERT INTO outbox (type, payload, traceparent)
    SELECT 'order.created',
           json_build_object('orderId', id, 'productId', product_id, 'quantity', quantity),
           traceparent
    FROM placed JOIN draft USING (id)
)
SELECT placed.id, now() FROM draft LEFT JOIN placed ON placed.id = draft.id ORDER BY draft.position
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
SELECT id, product_id, status FROM changed
"""

# Only from a status that can be cancelled; no row from any other.
CANCEL_ORDER = f"""
WITH changed AS (
    UPDATE orders
    SET status = 'cancelled', reason = NULL, updated_at = now()
    WHERE id = $1 AND status IN ('pending', 'done')
    RETURNING {_COLUMNS}
), noted AS (
    INSERT INTO order_history (order_id, status, trace_id)
    SELECT id, status, $2 FROM changed
), announced AS (
    INSERT INTO outbox (type, payload, traceparent)
    SELECT 'order.cancelled',
           json_build_object('orderId', id, 'productId', product_id, 'quantity', quantity),
           $3::text
    FROM changed
)
SELECT * FROM changed
"""

CLOCK = "SELECT now()"

# Oldest first, by orders_status.
LIST_PENDING = """
SELECT id, trace_id, extract(epoch FROM $3::timestamptz - created_at)::float8
FROM orders
WHERE status = 'pending' AND id > $1
ORDER BY id
LIMIT $2
"""

# Whose age since the cancellation has passed $1 seconds, or that times a power of two up to a day, in the last $2
# seconds: a range of orders_cancelled for each power.
LIST_CANCELLED = """
SELECT DISTINCT id, trace_id
FROM generate_series(0, greatest(0, floor(log(2, (86400 / $1::float8)::numeric)))::integer) AS doubling
JOIN orders ON status = 'cancelled'
    AND updated_at <= $3::timestamptz - $1::float8 * 2 ^ doubling * interval '1 second'
    AND updated_at > $3::timestamptz - ($1::float8 * 2 ^ doubling + $2::float8) * interval '1 second'
ORDER BY id
LIMIT $4
"""

# What an order is now, not what it was when it was found.
ANNOUNCE_AGAIN = """
INSERT INTO outbox (type, payload, traceparent)
SELECT CASE status WHEN 'pending' THEN 'order.created' ELSE 'order.cancelled' END,
       json_build_object('orderId', orders.id, 'productId', product_id, 'quantity', quantity),
       traceparent
FROM unnest($1::bigint[], $2::text[]) AS stuck (order_id, traceparent)
JOIN orders ON orders.id = stuck.order_id AND orders.status IN ('pending', 'cancelled')
"""

FIND_FINAL = "SELECT id FROM orders WHERE id = ANY ($1::bigint[]) AND status <> 'pending'"

# In the order in which an order can have them: a clock may be set back.
GET_HISTORY = """
SELECT status, reason, trace_id, created_at
FROM order_history
WHERE order_id = $1
ORDER BY array_position(ARRAY['pending', 'done', 'rejected', 'cancelled'], status)
"""

FIND_BY_KEY = f"SELECT request_hash, {_COLUMNS} FROM orders WHERE idempotency_key = $1"

FORGET_KEYS = """
UPDATE orders
SET idempotency_key = NULL, request_hash = NULL
WHERE id IN (
    SELECT id
    FROM orders
    WHERE idempotency_key IS NOT NULL AND created_at < now() - interval '24 hours'
    ORDER BY created_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
"""

GET_ORDER = f"SELECT {_COLUMNS} FROM orders WHERE id = $1"

# Newest first, below the cursor; each walks the index named, whatever share of the table it filters: rows are compared
# as the index orders them, since for `status = $3 … ORDER BY id` the planner may walk all orders and filter.
LIST_ORDERS = f"SELECT {_COLUMNS} FROM orders WHERE id < $1 ORDER BY id DESC LIMIT $2"  # orders_pkey
LIST_BY_STATUS = f"""
SELECT {_COLUMNS}
FROM orders
WHERE status >= $3 AND (status, id) < ($3, $1)
ORDER BY status DESC, id DESC
LIMIT $2
"""  # orders_status
LIST_BY_PRODUCT = f"""
SELECT {_COLUMNS}
FROM orders
WHERE product_id >= $3 AND (product_id, id) < ($3, $1)
ORDER BY product_id DESC, id DESC
LIMIT $2
"""  # orders_product
LIST_BY_PRODUCT_AND_STATUS = f"""
SELECT {_COLUMNS}
FROM orders
WHERE product_id = $3 AND status >= $4 AND (status, id) < ($4, $1)
ORDER BY status DESC, id DESC
LIMIT $2
"""  # orders_product_status
