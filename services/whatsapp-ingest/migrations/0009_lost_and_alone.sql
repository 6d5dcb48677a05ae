-- What is cut off again and again is tried alone, and what certainly did not leave is not doubted.
ALTER TABLE whatsapp.send
    -- It has files that must be at Meta first.
    ADD COLUMN with_files boolean NOT NULL DEFAULT false,
    -- The call that began the last attempt: an owner who never learned of its commit knows that nothing of it left.
    ADD COLUMN begun_by uuid;
-- Its sends with files that were cut off: the next one of them goes alone.
CREATE INDEX send_by_cut_off ON whatsapp.send (account_key, next_at) WHERE state = 'planned' AND with_files AND cut_offs > 0;

ALTER TABLE whatsapp.media
    -- Claims in a row that nobody ended: a file that ends every process that fetches it ends at a limit.
    ADD COLUMN cut_offs integer NOT NULL DEFAULT 0;
