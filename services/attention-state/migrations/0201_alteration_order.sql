-- Two alterations of one second are told apart by their place in the channel ledger's order: whatever order they come in, they end
-- alike. 0 in rows of the releases before.
ALTER TABLE attention.alteration ADD COLUMN number bigint NOT NULL DEFAULT 0;
