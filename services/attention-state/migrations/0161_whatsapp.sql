-- WhatsApp: the end of the 24-hour window, what an item is beyond its text, the ids by which reactions, edits and replies name it,
-- and states of a send above `sent`.
ALTER TABLE attention.attention
    -- Until when free text may be sent, from the customer's own instants; it only ever moves later.
    ADD COLUMN window_ends_at timestamptz,
    ADD CONSTRAINT window_only_of_whatsapp CHECK (window_ends_at IS NULL OR channel = 'whatsapp');

ALTER TABLE attention.message
    -- hilo.history.v1.WhatsAppItem; null in mails, and once the body is in the history only.
    ADD COLUMN whatsapp bytea,
    -- Meta's id of the item; of ours known from the first report on.
    ADD COLUMN wamid text NOT NULL DEFAULT '',
    -- Stable class of a failure or of a wait.
    ADD COLUMN delivery_reason text NOT NULL DEFAULT '',
    DROP CONSTRAINT delivery_state_is_known,
    ADD CONSTRAINT delivery_state_is_known
        CHECK (delivery_state IN ('queued', 'sent', 'delivered', 'read', 'played', 'failed', 'unknown'));

-- kind `wamid`: SHA-256 of account and wamid, which is unique for a number.
ALTER TABLE attention.message_key
    DROP CONSTRAINT kind_is_known,
    ADD CONSTRAINT kind_is_known CHECK (kind IN ('external', 'send', 'internet', 'wamid'));

ALTER TABLE contact.identity
    DROP CONSTRAINT kind_is_known,
    ADD CONSTRAINT kind_is_known CHECK (kind IN ('email', 'phone', 'whatsapp', 'bsuid'));

-- Reactions, edits and revokes as they came, each once for ever. One whose target nobody knows yet waits for it.
CREATE TABLE attention.alteration (
    -- Ledger id of the item.
    ledger_id  uuid PRIMARY KEY,
    -- Key of the target, as in message_key.
    target     bytea NOT NULL,
    -- hilo.inbound.v1.InboundWhatsApp; empty once it is settled.
    item       bytea NOT NULL,
    -- `waiting`; `applied`; `gone`: its target did not come in time, is in the history only, or is not of the customer.
    state      text NOT NULL,
    came_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT state_is_known CHECK (state IN ('waiting', 'applied', 'gone')),
    CONSTRAINT item_only_while_waiting CHECK ((state = 'waiting') = (item <> ''))
);
CREATE INDEX alteration_waits_for ON attention.alteration (target) WHERE state = 'waiting';
CREATE INDEX alteration_waits_since ON attention.alteration (came_at) WHERE state = 'waiting';

-- Reports that contradict each other: a failure of what was delivered. The message shows that it was delivered.
CREATE TABLE attention.delivery_anomaly (
    -- Id of the report.
    report_id   uuid PRIMARY KEY,
    message_id  uuid NOT NULL REFERENCES attention.message,
    -- State the message had.
    had         text NOT NULL,
    -- State reported.
    reported    text NOT NULL,
    -- The provider's words.
    detail      text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX anomaly_of_message ON attention.delivery_anomaly (message_id);
