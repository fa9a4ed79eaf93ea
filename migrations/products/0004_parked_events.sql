-- How often an event was parked before.
ALTER TABLE outbox ADD COLUMN attempts integer NOT NULL DEFAULT 0;

-- Events that no queue takes, or that cannot be published for a reason of their own. An operator decides about them.
CREATE TABLE parked_events (
    id bigint PRIMARY KEY,  -- of the outbox
    type text NOT NULL,
    payload json NOT NULL,
    traceparent text,
    created_at timestamptz NOT NULL,
    attempts integer NOT NULL,
    last_error text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now()
);
