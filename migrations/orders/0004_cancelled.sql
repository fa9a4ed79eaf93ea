-- To find those whose cancellation is to be announced again; other orders cost it nothing.
CREATE INDEX orders_cancelled ON orders (updated_at) WHERE status = 'cancelled';
