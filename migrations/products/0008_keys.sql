-- migrate: statement by statement
-- The index of the keys compares bytes: a new collation of the operating system neither loses a key nor stores it twice.
-- An attempt that was interrupted leaves an invalid index.
DROP INDEX CONCURRENTLY IF EXISTS idempotency_keys_by_bytes;
CREATE UNIQUE INDEX CONCURRENTLY idempotency_keys_by_bytes ON idempotency_keys (key COLLATE "C");

-- At once, in one statement: a repeat of it finds a key that is unique, whatever came of the attempt before. The new
-- index fits the column as it becomes and is kept.
DO $$
BEGIN
    ALTER TABLE idempotency_keys
        DROP CONSTRAINT idempotency_keys_pkey,
        DROP CONSTRAINT IF EXISTS idempotency_keys_key_check,
        ALTER COLUMN key TYPE text COLLATE "C";
    ALTER TABLE idempotency_keys
        ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY USING INDEX idempotency_keys_by_bytes,
        ADD CONSTRAINT idempotency_keys_key_check CHECK (char_length(key) BETWEEN 1 AND 255) NOT VALID;
END
$$;
ALTER TABLE idempotency_keys VALIDATE CONSTRAINT idempotency_keys_key_check;
