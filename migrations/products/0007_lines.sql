-- migrate: statement by statement
-- A reservation is of one line of an order: 0 for the first, as all of those that an older release makes. `held` while
-- the order waits to be confirmed; `available` is what there was for a line that could not be served.
ALTER TABLE reservations
    ADD COLUMN IF NOT EXISTS line smallint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS held boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS available bigint;

-- What held orders have taken: neither free to sell nor sold.
ALTER TABLE products ADD COLUMN IF NOT EXISTS held bigint NOT NULL DEFAULT 0;
ALTER TABLE products DROP CONSTRAINT IF EXISTS products_held, ADD CONSTRAINT products_held CHECK (held >= 0) NOT VALID;
ALTER TABLE products VALIDATE CONSTRAINT products_held;

-- An attempt that was interrupted leaves an invalid index.
DROP INDEX CONCURRENTLY IF EXISTS reservations_order_line;
CREATE UNIQUE INDEX CONCURRENTLY reservations_order_line ON reservations (order_id, line);
ALTER TABLE reservations
    DROP CONSTRAINT reservations_pkey, ADD CONSTRAINT reservations_pkey PRIMARY KEY USING INDEX reservations_order_line;
