-- The ledger of outgoing mail: a send is here before OUTBOUND is acknowledged, and an attempt is here before it begins.

CREATE TABLE mail.send (
    send_id          uuid        PRIMARY KEY,
    account_key      text        NOT NULL,
    conversation_key uuid        NOT NULL,
    sequence         bigint      NOT NULL,
    -- hilo.outbound.v1.OutboundEnvelope.
    envelope         bytea       NOT NULL,
    traceparent      text,
    state            text        NOT NULL DEFAULT 'planned',
    -- Begun attempts.
    attempts         integer     NOT NULL DEFAULT 0,
    -- Epoch of the account's lease under which the running attempt was begun.
    epoch            bigint,
    -- When it is due; null when nothing is to be done.
    next_at          timestamptz DEFAULT now(),
    taken_at         timestamptz NOT NULL DEFAULT now(),
    changed_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT send_state_is_known CHECK (state IN ('planned', 'attempting', 'sent', 'failed', 'unknown')),
    CONSTRAINT send_epoch_iff_attempting CHECK ((state = 'attempting') = (epoch IS NOT NULL)),
    CONSTRAINT send_due_iff_open
        CHECK ((next_at IS NOT NULL) = (state = 'planned') OR (state = 'unknown' AND next_at IS NOT NULL)),
    CONSTRAINT send_once_per_place UNIQUE (conversation_key, sequence)
) WITH (fillfactor = 80);
CREATE INDEX send_by_due ON mail.send (account_key, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX send_by_attempt ON mail.send (account_key) WHERE state = 'attempting';

-- The truth is per recipient: a server may take two of three.
CREATE TABLE mail.recipient (
    send_id       uuid     NOT NULL REFERENCES mail.send (send_id),
    position      smallint NOT NULL,
    address       text     NOT NULL,
    state         text     NOT NULL DEFAULT 'planned',
    -- True once an attempt may have sent it to this recipient.
    maybe_sent    boolean  NOT NULL DEFAULT false,
    -- True while it takes part in the next attempt.
    retry         boolean  NOT NULL DEFAULT true,
    reply_code    integer  NOT NULL DEFAULT 0,
    enhanced_code text     NOT NULL DEFAULT '',
    reply_text    text     NOT NULL DEFAULT '',
    PRIMARY KEY (send_id, position),
    CONSTRAINT recipient_state_is_known CHECK (state IN ('planned', 'attempting', 'sent', 'failed', 'unknown'))
) WITH (fillfactor = 80);
