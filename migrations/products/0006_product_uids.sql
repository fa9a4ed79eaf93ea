-- migrate: in batches
UPDATE products SET uid = gen_random_uuid()
WHERE id IN (SELECT id FROM products WHERE uid IS NULL LIMIT 5000);
