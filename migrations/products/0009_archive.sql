-- migrate: statement by statement
-- The first line of an archived order stays, as `archived` and without a movement: it tells a late event that the order
-- was decided. The movements of all archived orders of a product are one of the kind `archived`, which has the id 0.
-- New rows are checked at once, those that are there beside the traffic.
ALTER TABLE reservations
    DROP CONSTRAINT IF EXISTS reservations_outcome_check,
    DROP CONSTRAINT IF EXISTS reservations_known_outcome,
    ADD CONSTRAINT reservations_known_outcome
        CHECK (outcome IN ('reserved', 'rejected', 'released', 'archived')) NOT VALID;
ALTER TABLE reservations VALIDATE CONSTRAINT reservations_known_outcome;
ALTER TABLE stock_movements
    DROP CONSTRAINT IF EXISTS stock_movements_kind_check,
    DROP CONSTRAINT IF EXISTS stock_movements_known_kind,
    ADD CONSTRAINT stock_movements_known_kind
        CHECK (kind IN ('initial', 'adjustment', 'reserve', 'release', 'archived')) NOT VALID;
ALTER TABLE stock_movements VALIDATE CONSTRAINT stock_movements_known_kind;

-- Takes lines of a file whose orders are removed, and archives the reservations that are still as their lines say. The
-- locks come before the look, as in the product service. A movement that could grow out of its column is closed first.
CREATE OR REPLACE FUNCTION archive_reservations(json[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    product_ids CONSTANT bigint[] := ARRAY(
        SELECT (r ->> 'product_id')::bigint FROM unnest($1) AS l, json_array_elements(l -> 'reservations') AS r
    );
BEGIN
    PERFORM FROM products WHERE id = ANY (product_ids) ORDER BY id FOR NO KEY UPDATE;
    UPDATE stock_movements SET id = DEFAULT, kind = 'adjustment', reason = 'archived orders'
    WHERE product_id = ANY (product_ids) AND id = 0 AND delta NOT BETWEEN -1000000000 AND 1000000000;
    WITH same AS (
        SELECT archived.order_id, movements
        FROM (
            SELECT (l -> 'order' ->> 'id')::bigint AS order_id, l ->> 'reservations' AS content,
                   l -> 'movements' AS movements
            FROM unnest($1) AS l
        ) AS archived
        WHERE content = (
            SELECT translate(json_agg(r ORDER BY r.line)::text, E'\n', ' ')
            FROM reservations AS r WHERE r.order_id = archived.order_id
        )
    ), removed AS (
        DELETE FROM stock_movements AS s USING same, json_array_elements(movements) AS m
        WHERE s.product_id = (m ->> 'product_id')::bigint AND s.id = (m ->> 'id')::bigint
        RETURNING s.product_id, s.delta
    ), carried AS (
        INSERT INTO stock_movements AS s (product_id, id, kind, delta) OVERRIDING SYSTEM VALUE
        SELECT product_id, 0, 'archived', sum(delta) FROM removed GROUP BY product_id HAVING sum(delta) <> 0
        ON CONFLICT (product_id, id) DO UPDATE SET delta = s.delta + excluded.delta, created_at = now()
    ), cut AS (
        DELETE FROM reservations AS r USING same WHERE r.order_id = same.order_id AND r.line > 0
    )
    UPDATE reservations AS r SET outcome = 'archived', reason = NULL, available = NULL
    FROM same WHERE r.order_id = same.order_id AND r.line = 0;
END
$$;
