-- What breaks a process off with its files, or is being fetched, is counted.
ALTER TABLE whatsapp.send
    -- Attempts in a row that were cut off before anything left: a file that ends every process that reads it ends at a limit.
    ADD COLUMN cut_offs integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN whatsapp.send.held_since IS 'Not read any more: `reason` says the same. It goes when no release before this one runs.';
-- Fetches under way, of all replicas.
CREATE INDEX media_by_claim ON whatsapp.media (account_key) WHERE claim IS NOT NULL;
