-- migrate: statement by statement
-- The orders of a product are listed by (product_id, status, id), one walk for each status. Services of a release before
-- list them more slowly without these, as long as they run.
DROP INDEX CONCURRENTLY IF EXISTS orders_product;
DROP INDEX CONCURRENTLY IF EXISTS order_products_product;
