-- The ledger of what goes out: a send is here before OUTBOUND is acknowledged, and an attempt is here before it begins.

CREATE TABLE whatsapp.send (
    send_id          uuid        PRIMARY KEY,
    account_key      text        NOT NULL,
    conversation_key uuid        NOT NULL,
    sequence         bigint      NOT NULL,
    -- hilo.outbound.v1.OutboundEnvelope.
    envelope         bytea       NOT NULL,
    traceparent      text,
    -- `doubtful`: an attempt ended without an answer; a status may still tell what became of it until `next_at`.
    state            text        NOT NULL DEFAULT 'planned',
    -- Begun attempts.
    attempts         integer     NOT NULL DEFAULT 0,
    -- Epoch of the number's lease under which the running attempt was begun.
    epoch            bigint,
    -- When it is due: the next attempt of a planned one, the end of the wait of a doubtful one.
    next_at          timestamptz DEFAULT now(),
    -- Meta's id, once known.
    wamid            text,
    -- The highest that statuses have told of a sent one.
    reached          text,
    -- Stable word for the last failure or wait; Meta's code and words with it.
    reason           text        NOT NULL DEFAULT '',
    error_code       integer     NOT NULL DEFAULT 0,
    error_text       text        NOT NULL DEFAULT '',
    taken_at         timestamptz NOT NULL DEFAULT now(),
    changed_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT send_state_is_known
        CHECK (state IN ('planned', 'attempting', 'doubtful', 'sent', 'failed', 'unknown')),
    CONSTRAINT send_epoch_iff_attempting CHECK ((state = 'attempting') = (epoch IS NOT NULL)),
    CONSTRAINT send_due_iff_open CHECK ((next_at IS NOT NULL) = (state IN ('planned', 'doubtful'))),
    CONSTRAINT send_reached_is_known CHECK (reached IN ('sent', 'delivered', 'read', 'played')),
    CONSTRAINT send_once_per_place UNIQUE (conversation_key, sequence)
) WITH (fillfactor = 80);
CREATE INDEX send_by_due ON whatsapp.send (account_key, next_at, sequence) WHERE next_at IS NOT NULL;
CREATE INDEX send_by_attempt ON whatsapp.send (account_key) WHERE state = 'attempting';
CREATE INDEX send_by_wamid ON whatsapp.send (account_key, wamid) WHERE wamid IS NOT NULL;

-- One row per status of a message of ours; the key makes a repeated webhook harmless.
CREATE TABLE whatsapp.status (
    account_key text        NOT NULL,
    wamid       text        NOT NULL,
    status      text        NOT NULL,
    webhook_id  uuid        NOT NULL REFERENCES whatsapp.webhook (id),
    -- The send it was applied to; null while none is known.
    send_id     uuid,
    -- Our own id as Meta gave it back; null when it gave none.
    opaque      uuid,
    -- True when it contradicts what is known: `failed` after the message had arrived.
    anomaly     boolean     NOT NULL DEFAULT false,
    error_code  integer     NOT NULL DEFAULT 0,
    error_text  text        NOT NULL DEFAULT '',
    happened_at timestamptz NOT NULL,
    parsed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_key, wamid, status)
);
CREATE INDEX status_without_send ON whatsapp.status (parsed_at) WHERE send_id IS NULL;

-- Pace towards one customer: the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371).
CREATE TABLE whatsapp.pair (
    account_key text        NOT NULL,
    recipient   text        NOT NULL,
    tat         timestamptz NOT NULL,
    PRIMARY KEY (account_key, recipient)
) WITH (fillfactor = 70);

-- A number that must not send for a while, and why.
CREATE TABLE whatsapp.pause (
    account_key text        PRIMARY KEY,
    until       timestamptz NOT NULL,
    reason      text        NOT NULL,
    -- Pauses in a row; the next one is longer.
    times       integer     NOT NULL
);
