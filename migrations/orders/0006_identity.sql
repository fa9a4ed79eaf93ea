-- migrate: statement by statement
-- What the numbers of an order and of its product meant when it was placed: a database that lost its tail gives the
-- numbers out again. NULL in orders of a release that had no identities.
ALTER TABLE orders ADD COLUMN IF NOT EXISTS uid uuid, ADD COLUMN IF NOT EXISTS product_uid uuid;

-- An attempt that was interrupted leaves an invalid index.
DROP INDEX CONCURRENTLY IF EXISTS orders_uid;
CREATE UNIQUE INDEX CONCURRENTLY orders_uid ON orders (uid);
