-- Templates of the WhatsApp business accounts as whatsapp-ingest last read them from Meta, per account (business number).
CREATE TABLE directory.template_reading (
    account_key text PRIMARY KEY REFERENCES directory.account,
    -- When Meta was asked; an older reading that comes later changes nothing.
    read_at     timestamptz NOT NULL
);

CREATE TABLE directory.template (
    account_key text NOT NULL REFERENCES directory.template_reading,
    name        text NOT NULL,
    language    text NOT NULL,
    -- As Meta names it; only APPROVED ones may be sent.
    status      text NOT NULL,
    -- hilo.attention.v1.Template without account and instant.
    content     bytea NOT NULL,
    PRIMARY KEY (account_key, name, language),
    CONSTRAINT name_is_not_empty CHECK (name <> ''),
    CONSTRAINT language_is_not_empty CHECK (language <> '')
);
CREATE INDEX template_that_may_be_sent ON directory.template (name, language, account_key) WHERE status = 'APPROVED';
