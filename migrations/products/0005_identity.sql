-- What the numbers of products and orders meant: a database that lost its tail gives the numbers out again.
ALTER TABLE products ADD COLUMN uid uuid;
ALTER TABLE products ALTER COLUMN uid SET DEFAULT gen_random_uuid();

-- NULL in reservations of orders that were placed without one.
ALTER TABLE reservations ADD COLUMN order_uid uuid;
