-- What an order's row tells is not stored a second time: that it was pending, and the status that it has, if the trace
-- of its placing brought that. `order_history` shows it all, as it always did, and is a view now; what no order tells
-- is in this table. Services of a release before go on reading the view and writing to it.
ALTER TABLE order_history RENAME TO order_entries;

CREATE VIEW order_history AS
SELECT id AS order_id, 'pending' AS status, NULL AS reason, trace_id, created_at FROM orders
UNION ALL
SELECT id, status, reason, trace_id, updated_at FROM orders
WHERE status <> 'pending' AND NOT EXISTS (
    SELECT FROM order_entries AS stored WHERE stored.order_id = orders.id AND stored.status = orders.status
)
UNION ALL
SELECT order_id, status, reason, trace_id, created_at FROM order_entries WHERE status <> 'pending';
ALTER VIEW order_history ALTER COLUMN created_at SET DEFAULT now();

CREATE FUNCTION store_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> 'pending' THEN
        INSERT INTO order_entries (order_id, status, reason, trace_id, created_at)
        VALUES (NEW.order_id, NEW.status, NEW.reason, NEW.trace_id, NEW.created_at);
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER store_entry INSTEAD OF INSERT ON order_history FOR EACH ROW EXECUTE FUNCTION store_entry();

-- What the row told until now is stored before it tells something else, whoever changes it.
CREATE FUNCTION keep_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO order_entries (order_id, status, reason, trace_id, created_at)
    VALUES (OLD.id, OLD.status, OLD.reason, OLD.trace_id, OLD.updated_at) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_entry AFTER UPDATE ON orders FOR EACH ROW
WHEN (
    OLD.status <> 'pending'
    AND (OLD.status, OLD.reason, OLD.trace_id, OLD.updated_at)
        IS DISTINCT FROM (NEW.status, NEW.reason, NEW.trace_id, NEW.updated_at)
)
EXECUTE FUNCTION keep_entry();

-- A service that runs goes on at once, before `ops migrate` comes to its grants.
DO $$
DECLARE
    role_name name;
BEGIN
    FOR role_name IN
        SELECT grantee FROM information_schema.role_table_grants
        WHERE table_name = 'order_entries' AND privilege_type = 'INSERT' AND grantee <> current_user
    LOOP
        EXECUTE format('GRANT SELECT, INSERT ON order_history TO %I', role_name);
    END LOOP;
END
$$;
