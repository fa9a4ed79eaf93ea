-- Stock that comes back from a cancelled order may exceed what can be entered.
ALTER TABLE products ALTER COLUMN qty TYPE bigint;

-- Of an adjustment: why it was made.
ALTER TABLE stock_movements ADD COLUMN reason text CHECK (char_length(reason) BETWEEN 1 AND 200);

-- The first answer to a request with a key, written in that request's transaction and kept for a day.
CREATE TABLE idempotency_keys (
    key text PRIMARY KEY CHECK (char_length(key) BETWEEN 1 AND 255),
    request_hash bytea NOT NULL,
    answer json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
