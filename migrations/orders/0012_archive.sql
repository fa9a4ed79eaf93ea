-- What is left of an order that `ops archive` has written into a file and removed: it is not lost, and its reservation
-- is not without an order.
CREATE TABLE archived_orders (
    id bigint PRIMARY KEY,
    uid uuid  -- NULL of an order that a release before identities placed
);

-- Takes lines of a file. Removes the orders that are still as their lines say, and returns the lines of all orders that
-- are removed, by this call or one before.
CREATE FUNCTION archive_orders(json[]) RETURNS TABLE (line json, is_new boolean) LANGUAGE sql AS $$
    WITH removed AS (
        DELETE FROM orders USING unnest($1) AS archived
        WHERE id = (archived -> 'order' ->> 'id')::bigint
            AND translate(row_to_json(orders)::text, E'\n', ' ') = archived ->> 'order'
        RETURNING archived, id, uid
    ), entries AS (
        DELETE FROM order_entries USING removed WHERE order_id = id
    ), listed AS (
        DELETE FROM order_products USING removed WHERE order_id = id
    ), noted AS (
        INSERT INTO archived_orders SELECT id, uid FROM removed ON CONFLICT DO NOTHING
    )
    SELECT archived, true FROM removed
    UNION ALL
    SELECT archived, false
    FROM unnest($1) AS archived JOIN archived_orders ON id = (archived -> 'order' ->> 'id')::bigint
    WHERE uid::text IS NOT DISTINCT FROM archived -> 'order' ->> 'uid'
$$;
