-- migrate: statement by statement
-- An order of one product keeps it in its own columns. One of several has NULL there and all of them in `lines`, a JSON
-- array as its events carry it. `expires_at` is the end of a hold; `shortages` is what a rejected order could not get.
ALTER TABLE orders
    ALTER COLUMN product_id DROP NOT NULL,
    ALTER COLUMN quantity DROP NOT NULL,
    ALTER COLUMN unit_price DROP NOT NULL,
    ADD COLUMN IF NOT EXISTS lines json,
    ADD COLUMN IF NOT EXISTS expires_at timestamptz,
    ADD COLUMN IF NOT EXISTS shortages json;

-- New rows are checked at once, those that are there beside the traffic.
ALTER TABLE orders
    DROP CONSTRAINT IF EXISTS orders_status_check,
    DROP CONSTRAINT IF EXISTS orders_known_status,
    DROP CONSTRAINT IF EXISTS orders_has_lines,
    ADD CONSTRAINT orders_known_status
        CHECK (status IN ('pending', 'held', 'done', 'rejected', 'cancelled', 'expired')) NOT VALID,
    ADD CONSTRAINT orders_has_lines
        CHECK (num_nulls(product_id, quantity, unit_price) = CASE WHEN lines IS NULL THEN 0 ELSE 3 END) NOT VALID;
ALTER TABLE orders VALIDATE CONSTRAINT orders_known_status;
ALTER TABLE orders VALIDATE CONSTRAINT orders_has_lines;

-- The products of the orders that have several, to list the orders of a product. The status is a copy of the order's.
CREATE TABLE IF NOT EXISTS order_products (
    order_id bigint NOT NULL,
    product_id bigint NOT NULL,
    status text NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
CREATE INDEX IF NOT EXISTS order_products_product ON order_products (product_id, order_id);
CREATE INDEX IF NOT EXISTS order_products_product_status ON order_products (product_id, status, order_id);

-- An attempt that was interrupted leaves an invalid index.
DROP INDEX CONCURRENTLY IF EXISTS orders_held;
CREATE INDEX CONCURRENTLY orders_held ON orders (expires_at) WHERE (status = 'held') IS TRUE;

-- To find those that are to be announced again, because no event answers it: cancelled, expired and confirmed ones.
DROP INDEX CONCURRENTLY IF EXISTS orders_unanswered;
CREATE INDEX CONCURRENTLY orders_unanswered ON orders (updated_at)
WHERE status IN ('cancelled', 'expired') OR (status = 'done' AND expires_at IS NOT NULL);
DROP INDEX CONCURRENTLY IF EXISTS orders_cancelled;
