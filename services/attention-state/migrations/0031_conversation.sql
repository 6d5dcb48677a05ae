-- A mail has hidden recipients, every recipient a delivery state of his own, a repeated send another id than its message, and a
-- draft more than its text.
ALTER TABLE attention.message
    ADD COLUMN bcc_addresses jsonb NOT NULL DEFAULT '[]',
    -- List of {address, state, code, enhanced, words} as last reported; empty before the first report.
    ADD COLUMN delivery_recipients jsonb NOT NULL DEFAULT '[]',
    -- Id of the newest send; null while it is the message's own.
    ADD COLUMN current_send uuid;

ALTER TABLE attention.draft
    -- hilo.attention.v1.DraftContent; empty is none.
    ADD COLUMN content bytea NOT NULL DEFAULT '',
    ADD CONSTRAINT content_is_bounded CHECK (octet_length(content) <= 1048576);
