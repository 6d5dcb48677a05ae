-- Messages, and the keys by which later messages and statuses find them. Keys stay for ever, bodies do not.
CREATE TABLE attention.message (
    message_id          uuid PRIMARY KEY,
    attention_id        uuid NOT NULL REFERENCES attention.attention,
    interaction_id      uuid NOT NULL REFERENCES attention.interaction,
    -- Order of the thread, made under the attention's lock.
    position            bigint NOT NULL,
    direction           text NOT NULL,
    from_address        text NOT NULL,
    from_name           text NOT NULL DEFAULT '',
    -- Lists of {address, name}.
    to_addresses        jsonb NOT NULL DEFAULT '[]',
    cc_addresses        jsonb NOT NULL DEFAULT '[]',
    reply_to_addresses  jsonb NOT NULL DEFAULT '[]',
    subject             text NOT NULL DEFAULT '',
    text_body           text NOT NULL DEFAULT '',
    html_body           text NOT NULL DEFAULT '',
    -- List of {sha256, file_name, media_type, size_bytes, content_id, inline}.
    attachments         jsonb NOT NULL DEFAULT '[]',
    occurred_at         timestamptz NOT NULL,
    internet_message_id text NOT NULL DEFAULT '',
    -- References chain, oldest first, this message's own id left out.
    reference_ids       text[] NOT NULL DEFAULT '{}',
    agent_key           text,
    mail_class          text NOT NULL DEFAULT '',
    sender_verified     boolean NOT NULL DEFAULT true,
    delivery_state      text,
    delivery_detail     text NOT NULL DEFAULT '',
    -- Place in the channel ledger's order; a redelivery after a crash may commit out of it.
    conversation_key    uuid,
    conversation_number bigint,
    CONSTRAINT position_is_unique_in_attention UNIQUE (attention_id, position),
    CONSTRAINT direction_is_known CHECK (direction IN ('inbound', 'outbound')),
    CONSTRAINT delivery_state_iff_outbound CHECK ((direction = 'outbound') = (delivery_state IS NOT NULL)),
    CONSTRAINT delivery_state_is_known CHECK (delivery_state IN ('queued', 'sent', 'failed', 'unknown')),
    CONSTRAINT ledger_place_is_whole CHECK ((conversation_key IS NULL) = (conversation_number IS NULL)),
    CONSTRAINT agent_iff_outbound CHECK ((direction = 'outbound') = (agent_key IS NOT NULL))
);
CREATE INDEX message_of_interaction ON attention.message (interaction_id, position);

-- kind `external`: ledger id of an inbound item. kind `send`: id of a send (16 bytes each). kind `internet`: SHA-256 of a
-- Message-ID (RFC 5322), which anybody may forge, so that several messages may carry the same one.
CREATE TABLE attention.message_key (
    kind           text NOT NULL,
    key            bytea NOT NULL,
    message_id     uuid NOT NULL,
    interaction_id uuid NOT NULL,
    attention_id   uuid NOT NULL,
    PRIMARY KEY (kind, key, message_id),
    CONSTRAINT kind_is_known CHECK (kind IN ('external', 'send', 'internet'))
);
CREATE UNIQUE INDEX own_key_names_one_message ON attention.message_key (kind, key) WHERE kind <> 'internet';

-- Message-IDs that a mail referred to and nobody knew yet: a parent that comes late links the attentions.
CREATE TABLE attention.awaited_parent (
    key          bytea NOT NULL,
    attention_id uuid NOT NULL REFERENCES attention.attention,
    awaited_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key, attention_id)
);
