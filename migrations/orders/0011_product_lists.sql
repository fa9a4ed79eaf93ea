-- migrate: statement by statement
-- The orders of a product are found by orders_product_status, one walk for each status: this index cost two entries an
-- order. The release before finds them there too, and sorts all orders of the product.
DROP INDEX CONCURRENTLY IF EXISTS orders_product;
