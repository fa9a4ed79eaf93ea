-- migrate: statement by statement
-- The orders of a product are found by orders_product_status, one walk for each status: orders_product cost two entries
-- an order. The release before finds them there too, and sorts all orders of the product. Those with a status that only
-- a later release knows have an index of their own, which is empty until then.
DROP INDEX CONCURRENTLY IF EXISTS orders_later_status;
CREATE INDEX CONCURRENTLY orders_later_status ON orders (product_id, id)
WHERE status NOT IN ('pending', 'held', 'done', 'rejected', 'expired', 'cancelled');
DROP INDEX CONCURRENTLY IF EXISTS orders_product;
