-- What customers set in WhatsApp's own menu about what is sent to many: beside the list that people keep, so that taking it back there
-- takes nothing else off.
CREATE TABLE dialer.stop (
    account_key text NOT NULL,
    number      text NOT NULL,
    stopped     boolean NOT NULL,
    -- The customer's own instant; of two the later one holds.
    said_at     timestamptz NOT NULL,
    PRIMARY KEY (account_key, number),
    CONSTRAINT number_is_e164 CHECK (number ~ '^\+[0-9]{8,15}$')
);
