-- Dialers: lists of numbers that an approved template is sent to, and numbers that must not be written to.
CREATE SCHEMA dialer;

CREATE TABLE dialer.dialer (
    dialer_id            uuid PRIMARY KEY,
    name                 text NOT NULL,
    campaign_key         text NOT NULL REFERENCES directory.campaign,
    account_key          text NOT NULL REFERENCES directory.account,
    template_name        text NOT NULL,
    template_language    text NOT NULL,
    -- Columns of the CSV after `number`: the variables of the template as they were when it was made.
    columns              text[] NOT NULL,
    per_minute           integer NOT NULL,
    -- directory::Hours as JSON; null follows the hours of the campaign.
    hours                jsonb,
    answer_timeout_hours integer NOT NULL,
    state                text NOT NULL,
    -- Why it paused by itself; empty when a person paused it.
    state_reason         text NOT NULL DEFAULT '',
    -- Rows ever added; the ordinal of the last one. Changed under this row's lock.
    total_rows           integer NOT NULL DEFAULT 0,
    -- Its next row is due then. The runner's claim: whoever moves it sends one row.
    next_at              timestamptz NOT NULL DEFAULT now(),
    created_by           text NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    changed_at           timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT name_is_short CHECK (char_length(name) BETWEEN 1 AND 100),
    CONSTRAINT pace_is_bounded CHECK (per_minute BETWEEN 1 AND 4800),
    CONSTRAINT answer_timeout_is_bounded CHECK (answer_timeout_hours BETWEEN 1 AND 720),
    CONSTRAINT state_is_known CHECK (state IN ('draft', 'running', 'paused', 'finished', 'stopped')),
    CONSTRAINT reason_only_while_paused CHECK (state_reason = '' OR state = 'paused'),
    CONSTRAINT rows_are_bounded CHECK (total_rows BETWEEN 0 AND 100000)
);
CREATE INDEX due_dialer ON dialer.dialer (next_at) WHERE state = 'running';
CREATE INDEX dialer_of_campaign ON dialer.dialer (campaign_key, created_at DESC, dialer_id DESC);

CREATE TABLE dialer.row (
    dialer_id           uuid NOT NULL REFERENCES dialer.dialer,
    ordinal             integer NOT NULL,
    number              text NOT NULL,
    -- In the order of the dialer's columns.
    "values"            text[] NOT NULL,
    -- Why nothing is sent; empty otherwise.
    skipped             text NOT NULL DEFAULT '',
    -- What became of the send; null until there is one. Words of attention.message's delivery states, `played` left out.
    delivery            text,
    delivery_reason     text NOT NULL DEFAULT '',
    delivery_detail     text NOT NULL DEFAULT '',
    -- Id of the send and of its message, once it is in a thread.
    send_id             uuid UNIQUE,
    sent_at             timestamptz,
    attention_id        uuid REFERENCES attention.attention,
    -- Meta's id, known from the first report on.
    wamid               text NOT NULL DEFAULT '',
    -- The number and name it went out under, and what the customer reads.
    from_address        text NOT NULL DEFAULT '',
    from_name           text NOT NULL DEFAULT '',
    text_body           text NOT NULL DEFAULT '',
    -- hilo.history.v1.WhatsAppItem of the message.
    item                bytea,
    -- When nobody will answer any more.
    due_at              timestamptz,
    -- What ended the waiting: `answered`, `taken_over` by an agent, `no_answer`.
    waited_for          text,
    gave_up_at          timestamptz,
    -- When the customer wrote first after it, and the attention that began with it when the first had closed.
    answered_at         timestamptz,
    answer_attention_id uuid REFERENCES attention.attention,
    state               text NOT NULL GENERATED ALWAYS AS (CASE
        WHEN answered_at IS NOT NULL THEN 'answered' WHEN skipped <> '' THEN 'skipped'
        WHEN delivery IS NULL THEN 'pending' ELSE delivery END) STORED,
    PRIMARY KEY (dialer_id, ordinal),
    CONSTRAINT number_counts_once UNIQUE (dialer_id, number),
    CONSTRAINT ordinal_counts_from_one CHECK (ordinal >= 1),
    CONSTRAINT number_is_e164 CHECK (number ~ '^\+[0-9]{8,15}$'),
    CONSTRAINT skipped_is_never_sent CHECK (skipped = '' OR delivery IS NULL),
    CONSTRAINT delivery_is_known CHECK (delivery IN ('queued', 'sent', 'delivered', 'read', 'failed', 'unknown')),
    CONSTRAINT sent_as_a_whole CHECK ((delivery IS NULL) = (send_id IS NULL) AND (delivery IS NULL) = (sent_at IS NULL)
        AND (delivery IS NULL) = (attention_id IS NULL) AND (delivery IS NULL) = (due_at IS NULL)
        AND (delivery IS NULL) = (item IS NULL)),
    CONSTRAINT end_of_waiting_is_known CHECK (waited_for IN ('answered', 'taken_over', 'no_answer')),
    CONSTRAINT waits_only_when_sent CHECK (waited_for IS NULL OR delivery IS NOT NULL),
    CONSTRAINT gave_up_at_iff_no_answer CHECK ((waited_for = 'no_answer') IS TRUE = (gave_up_at IS NOT NULL)),
    CONSTRAINT answered_only_when_sent CHECK (answered_at IS NULL OR waited_for IS NOT NULL)
);
CREATE INDEX row_by_state ON dialer.row (dialer_id, state, ordinal);
CREATE INDEX row_of_attention ON dialer.row (attention_id) WHERE attention_id IS NOT NULL;
CREATE INDEX row_waits ON dialer.row (due_at) WHERE delivery IS NOT NULL AND waited_for IS NULL;

-- Numbers that the dialers of a campaign do not write to.
CREATE TABLE dialer.opt_out (
    campaign_key text NOT NULL REFERENCES directory.campaign,
    number       text NOT NULL,
    -- Null when it was the customer, by Meta.
    added_by     text,
    added_at     timestamptz NOT NULL DEFAULT now(),
    reason       text NOT NULL DEFAULT '',
    PRIMARY KEY (campaign_key, number),
    CONSTRAINT number_is_e164 CHECK (number ~ '^\+[0-9]{8,15}$'),
    CONSTRAINT reason_is_short CHECK (char_length(reason) <= 200)
);
