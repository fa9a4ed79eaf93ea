-- migrate: statement by statement
-- Whose order it is, in the words of the shop. The columns of an index compare bytes: a new collation of the operating
-- system neither loses a key nor stores it twice.
ALTER TABLE orders
    ADD COLUMN IF NOT EXISTS customer_id text COLLATE "C",
    ADD COLUMN IF NOT EXISTS reference text COLLATE "C",
    ADD COLUMN IF NOT EXISTS metadata json;

-- Orders without a customer or a reference cost these indexes nothing. An attempt that was interrupted leaves an
-- invalid index.
DROP INDEX CONCURRENTLY IF EXISTS orders_customer;
CREATE INDEX CONCURRENTLY orders_customer ON orders (customer_id, id) WHERE customer_id IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS orders_reference;
CREATE UNIQUE INDEX CONCURRENTLY orders_reference ON orders (reference) WHERE reference IS NOT NULL;
