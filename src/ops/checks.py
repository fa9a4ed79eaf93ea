"""The statements of `reconcile`. Each takes the ids that it is to look at, or NULL for all.

What lies inside one database is compared there, so that only what disagrees is sent.
"""

COUNT_PRODUCTS = "SELECT count(*) FROM products"

# $2: at most so many.
STOCK = """
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

# Movements that ought to name an order and do not are a group of their own, without a reservation.
MOVEMENTS = """
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

# A time in the history is the start of its transaction, and of two that wait for each other the one that started first
# may commit last: hence ten seconds, longer than any transaction of the services lives.
HISTORY = """
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

# Both walk a primary key.
ORDERS = """
SELECT id, product_id, quantity, status, trace_id, extract(epoch FROM now() - updated_at)::float8
FROM orders
WHERE $1::bigint[] IS NULL OR id = ANY ($1)
ORDER BY id
"""

RESERVATIONS = """
SELECT order_id, product_id, quantity, outcome
FROM reservations
WHERE $1::bigint[] IS NULL OR order_id = ANY ($1)
ORDER BY order_id
"""

TRACES = "SELECT id, trace_id FROM orders WHERE id = ANY ($1::bigint[])"
