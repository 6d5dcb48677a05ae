-- When the templates of an account were last read from Meta and reported.
CREATE TABLE whatsapp.template_sync (
    account_key text        PRIMARY KEY,
    -- When Meta was asked for the list that was reported last; null before the first.
    read_at     timestamptz,
    next_at     timestamptz NOT NULL,
    -- Failures in a row; the next try is later.
    failures    integer     NOT NULL DEFAULT 0
);
-- Notices that make a list old.
CREATE INDEX notice_by_account ON whatsapp.notice (business_account_id, parsed_at);
