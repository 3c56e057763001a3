-- Cents alone cannot tell what an event cost: most events cost less than one. The flush also stores
-- the exact amount, so that the sum here equals the ledger's to the micro-dollar.
ALTER TABLE usage_events ADD COLUMN charge_microusd INTEGER;
