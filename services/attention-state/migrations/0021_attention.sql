-- Attentions and their interactions: the state that `attention::domain` decides on, one row each.
CREATE SCHEMA IF NOT EXISTS attention;

-- The human number (#5804). Gaps are harmless: it is shown, never counted with.
CREATE SEQUENCE attention.attention_number;

CREATE TABLE attention.attention (
    attention_id        uuid PRIMARY KEY,
    number              bigint NOT NULL UNIQUE,
    channel             text NOT NULL,
    account_key         text NOT NULL,
    campaign_key        text NOT NULL,
    contact_id          uuid NOT NULL REFERENCES contact.contact,
    -- The address or number the customer wrote from first.
    customer_address    text NOT NULL,
    subject             text NOT NULL DEFAULT '',
    state               text NOT NULL,
    closed_at           timestamptz,
    -- Sequence of its last event; the next event's number is made under this row's lock.
    sequence            bigint NOT NULL,
    -- Sequence of its last send, the order of OUTBOUND for this conversation.
    send_sequence       bigint NOT NULL DEFAULT 0,
    -- Position of its last message, the order of the thread.
    message_position    bigint NOT NULL DEFAULT 0,
    interaction_count   integer NOT NULL,
    linked_attention_id uuid REFERENCES attention.attention,
    -- The first attention of a chain of successors. Of a lineage at most one is open, so that several answers to a closed
    -- attention share one successor. An unverified linked attention starts its own lineage.
    lineage_id          uuid NOT NULL,
    -- Addresses that may join: the first author and everybody an agent wrote to, lower-cased.
    participants        text[] NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT channel_is_known CHECK (channel IN ('email', 'whatsapp')),
    CONSTRAINT state_is_known CHECK (state IN ('open', 'closed')),
    CONSTRAINT closed_at_iff_closed CHECK ((state = 'closed') = (closed_at IS NOT NULL)),
    CONSTRAINT sequence_counts_from_one CHECK (sequence >= 1),
    CONSTRAINT not_linked_to_itself CHECK (linked_attention_id <> attention_id),
    CONSTRAINT participants_are_bounded CHECK (cardinality(participants) <= 200)
);
CREATE UNIQUE INDEX one_open_attention_per_lineage ON attention.attention (lineage_id) WHERE state = 'open';
CREATE INDEX attention_of_contact ON attention.attention (contact_id);
CREATE INDEX attention_lineage ON attention.attention (lineage_id, attention_id);

CREATE TABLE attention.interaction (
    interaction_id     uuid PRIMARY KEY,
    attention_id       uuid NOT NULL REFERENCES attention.attention,
    ordinal            integer NOT NULL,
    version            bigint NOT NULL,
    state              text NOT NULL,
    direction          text NOT NULL,
    channel            text NOT NULL,
    campaign_key       text NOT NULL,
    -- Who has it open, or ended it.
    agent_key          text,
    waiting_since      timestamptz NOT NULL,
    queued_at          timestamptz NOT NULL,
    opened_at          timestamptz,
    ended_at           timestamptz,
    offer_id           uuid,
    -- Null while the offer rings at everyone.
    offer_agent_key    text,
    offered_at         timestamptz,
    -- Null when the accept timeout is off.
    offer_deadline_at  timestamptz,
    overflowed         boolean NOT NULL DEFAULT false,
    passed_by          text[] NOT NULL DEFAULT '{}',
    priority           integer NOT NULL DEFAULT 0,
    message_count      integer NOT NULL,
    -- True when ending it closed the attention too.
    closed_attention   boolean NOT NULL DEFAULT false,
    -- What a list shows of its last message.
    preview            text NOT NULL DEFAULT '',
    last_message_at    timestamptz NOT NULL,
    sender_verified    boolean NOT NULL DEFAULT true,
    -- Trace of the message that began it: parent of its events, offers and answers.
    traceparent        text NOT NULL DEFAULT '',
    -- Version history has stored.
    confirmed_version  bigint,
    CONSTRAINT ordinal_is_unique_in_attention UNIQUE (attention_id, ordinal),
    CONSTRAINT state_is_known CHECK (state IN ('queued', 'open', 'ended')),
    CONSTRAINT direction_is_known CHECK (direction IN ('inbound', 'outbound')),
    CONSTRAINT version_counts_from_one CHECK (version >= 1),
    CONSTRAINT agent_iff_not_queued CHECK ((state = 'queued') = (agent_key IS NULL)),
    CONSTRAINT opened_at_iff_not_queued CHECK ((state = 'queued') = (opened_at IS NULL)),
    CONSTRAINT ended_at_iff_ended CHECK ((state = 'ended') = (ended_at IS NOT NULL)),
    CONSTRAINT offer_only_while_queued CHECK (offer_id IS NULL OR state = 'queued'),
    CONSTRAINT offered_at_iff_offer CHECK ((offer_id IS NULL) = (offered_at IS NULL)),
    CONSTRAINT offer_parts_only_with_offer
        CHECK (offer_id IS NOT NULL OR (offer_agent_key IS NULL AND offer_deadline_at IS NULL)),
    CONSTRAINT overflowed_only_while_queued CHECK (NOT overflowed OR state = 'queued'),
    CONSTRAINT closes_only_when_ended CHECK (NOT closed_attention OR state = 'ended'),
    CONSTRAINT preview_is_short CHECK (char_length(preview) <= 120)
);
CREATE UNIQUE INDEX one_live_interaction_per_attention ON attention.interaction (attention_id) WHERE state <> 'ended';
CREATE INDEX queued_of_campaign ON attention.interaction (campaign_key, waiting_since DESC, interaction_id DESC)
    WHERE state = 'queued';
CREATE INDEX live_of_campaign ON attention.interaction (campaign_key, interaction_id) WHERE state <> 'ended';
CREATE INDEX open_of_agent ON attention.interaction (agent_key, channel) WHERE state = 'open';
CREATE INDEX offered_to_agent ON attention.interaction (offer_agent_key) WHERE offer_agent_key IS NOT NULL;
CREATE INDEX ended_unconfirmed ON attention.interaction (ended_at, interaction_id)
    WHERE state = 'ended' AND confirmed_version IS DISTINCT FROM version;
