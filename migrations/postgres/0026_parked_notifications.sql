-- no-transaction
-- Serves the deletion of parked notifications by their age, and their number.
CREATE INDEX CONCURRENTLY outbox_deliveries_parked ON outbox_deliveries (not_before) WHERE parked IS NOT NULL;
