-- Nobody suffers for what is not his fault: not for a directory that is behind, not for a neighbour in the same batch.

ALTER TABLE whatsapp.parse_queue
    -- Version of the directory it waits to be replaced: its numbers were not in that one. Null: it does not wait for one.
    ADD COLUMN directory_version bigint,
    -- It was in a batch that did not end well: it comes alone from now on, and only then an attempt is counted.
    ADD COLUMN alone boolean NOT NULL DEFAULT false;

ALTER TABLE whatsapp.customer
    -- The customer's own instant of the message that made him its owner: an older one takes it from nobody.
    ADD COLUMN told_at timestamptz NOT NULL DEFAULT to_timestamp(0);

ALTER TABLE whatsapp.send
    -- Since when it waits for its account to be switched on again, or to be in the directory.
    ADD COLUMN held_since timestamptz;
