-- Files of customers: what is to be fetched from Meta, and what became of it.

CREATE TABLE whatsapp.media (
    -- The item whose file it is.
    item_id          uuid        PRIMARY KEY REFERENCES whatsapp.item (id),
    account_key      text        NOT NULL,
    conversation_key uuid        NOT NULL,
    -- hilo.inbound.v1.InboundWhatsApp as it was handed over, with Meta's id of the file.
    item             bytea       NOT NULL,
    traceparent      text,
    -- When its webhook was committed: Meta keeps the file for seven days.
    received_at      timestamptz NOT NULL,
    state            text        NOT NULL DEFAULT 'waiting',
    -- Begun tries, and those of them whose answer was no such file or not this one.
    attempts         integer     NOT NULL DEFAULT 0,
    faults           integer     NOT NULL DEFAULT 0,
    -- Who works on it; another claim after `next_at` ends this one.
    claim            uuid,
    -- When the next try is due; of a claimed one, when the claim is over.
    next_at          timestamptz DEFAULT now(),
    -- Stable word for the last trouble, or for why there is no content.
    reason           text        NOT NULL DEFAULT '',
    -- Place of the hand-over in the conversation.
    sequence         bigint,
    changed_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT media_state_is_known CHECK (state IN ('waiting', 'stored', 'failed')),
    CONSTRAINT media_due_iff_waiting CHECK ((next_at IS NOT NULL) = (state = 'waiting')),
    CONSTRAINT media_handed_over_iff_ended CHECK ((sequence IS NOT NULL) = (state <> 'waiting')),
    CONSTRAINT media_reason_if_failed CHECK (state <> 'failed' OR reason <> '')
) WITH (fillfactor = 80);
CREATE INDEX media_by_due ON whatsapp.media (account_key, next_at) WHERE next_at IS NOT NULL;

-- Answers of Meta that were errors, of the last hour: whoever asks too often for what cannot be had is shut out.
CREATE TABLE whatsapp.media_error (
    account_key text        NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX media_error_by_account ON whatsapp.media_error (account_key, happened_at);
