-- migrate: statement by statement
-- The index of the keys compares bytes: a new collation of the operating system neither loses a key nor stores it twice.
-- A column takes another collation in an instant if its indexes fit it already; those with a condition are always built
-- again, and nobody reads or writes meanwhile: five seconds for a million keys. So an index without one stands in for
-- them. Whatever interrupts this, a key stays unique, and the next attempt begins with what is there.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('orders_key_meanwhile') AND NOT indisvalid) THEN
        DROP INDEX orders_key_meanwhile;
    END IF;
END
$$;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS orders_key_meanwhile ON orders (idempotency_key COLLATE "C");

DO $$
BEGIN
    DROP INDEX IF EXISTS orders_idempotency_key;
    DROP INDEX IF EXISTS orders_keyed;
    ALTER TABLE orders
        DROP CONSTRAINT IF EXISTS orders_idempotency_key_check,
        ALTER COLUMN idempotency_key TYPE text COLLATE "C";
    ALTER TABLE orders
        ADD CONSTRAINT orders_idempotency_key_check CHECK (char_length(idempotency_key) BETWEEN 1 AND 255) NOT VALID;
END
$$;
ALTER TABLE orders VALIDATE CONSTRAINT orders_idempotency_key_check;

-- Orders without a key, most of them, cost these indexes nothing.
CREATE UNIQUE INDEX CONCURRENTLY orders_idempotency_key ON orders (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX CONCURRENTLY orders_keyed ON orders (created_at) WHERE idempotency_key IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS orders_key_meanwhile;
-- The column's statistics went with its collation.
ANALYZE orders (idempotency_key);
