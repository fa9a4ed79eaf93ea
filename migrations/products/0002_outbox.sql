-- Events that the broker has not confirmed yet.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type text NOT NULL,
    payload json NOT NULL,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now()
)
-- Every row is deleted soon: vacuum by count, not by share of a table that is nearly empty, and without pauses.
WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
