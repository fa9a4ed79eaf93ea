-- The key of the request that placed the order, and what that request asked for; both go after a day.
ALTER TABLE orders
    ADD COLUMN idempotency_key text CHECK (char_length(idempotency_key) BETWEEN 1 AND 255),
    ADD COLUMN request_hash bytea;

-- Orders without a key, most of them, cost these indexes nothing.
CREATE UNIQUE INDEX orders_idempotency_key ON orders (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX orders_keyed ON orders (created_at) WHERE idempotency_key IS NOT NULL;
