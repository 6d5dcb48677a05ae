-- Ended threads. One row per interaction; a newer version replaces an older one, never the other way round.
CREATE TABLE thread (
    interaction_id uuid PRIMARY KEY,
    version bigint NOT NULL,
    attention_id uuid NOT NULL,
    attention_number bigint NOT NULL,
    ordinal integer NOT NULL,
    campaign_key text NOT NULL,
    account_key text NOT NULL,
    -- Empty when the system ended it.
    agent_key text NOT NULL,
    channel text NOT NULL,
    direction smallint NOT NULL,
    customer_name text NOT NULL,
    customer_address text NOT NULL,
    subject text NOT NULL,
    contact_id uuid,
    linked_attention_id uuid,
    waiting_since timestamptz,
    opened_at timestamptz,
    ended_at timestamptz NOT NULL,
    attention_closed boolean NOT NULL,
    message_count integer NOT NULL,
    tags text[] NOT NULL,
    form_key text,
    form_version integer,
    stored_at timestamptz NOT NULL DEFAULT now(),
    -- For searching: lower case, no accents.
    customer_folded text NOT NULL,
    subject_folded text NOT NULL,
    tags_folded text[] NOT NULL,
    -- `field=value` for every short value and every choice of a form.
    form_entries text[] NOT NULL,
    CONSTRAINT version_is_positive CHECK (version > 0),
    CONSTRAINT ordinal_is_positive CHECK (ordinal > 0),
    CONSTRAINT message_count_is_not_negative CHECK (message_count >= 0),
    CONSTRAINT campaign_is_named CHECK (campaign_key <> ''),
    CONSTRAINT direction_is_inbound_or_outbound CHECK (direction IN (1, 2)),
    CONSTRAINT form_version_iff_form_key CHECK ((form_key IS NULL) = (form_version IS NULL))
);

-- Newest first, alone and within a campaign or an agent: the order of every search.
CREATE INDEX thread_ended ON thread (ended_at DESC, interaction_id DESC);
CREATE INDEX thread_campaign_ended ON thread (campaign_key, ended_at DESC, interaction_id DESC);
CREATE INDEX thread_agent_ended ON thread (agent_key, ended_at DESC, interaction_id DESC);
CREATE INDEX thread_attention_number ON thread (attention_number, ended_at DESC, interaction_id DESC);
CREATE INDEX thread_customer_part ON thread USING gin (customer_folded gin_trgm_ops);
CREATE INDEX thread_subject_part ON thread USING gin (subject_folded gin_trgm_ops);
CREATE INDEX thread_tag ON thread USING gin (tags_folded);
CREATE INDEX thread_form_entry ON thread USING gin (form_entries);

CREATE TABLE message (
    interaction_id uuid NOT NULL REFERENCES thread ON DELETE CASCADE,
    message_id uuid NOT NULL,
    -- Place in the thread, from 1.
    position integer NOT NULL,
    direction smallint NOT NULL,
    from_address text NOT NULL,
    from_name text NOT NULL,
    -- Lists of {"address", "name"}.
    recipients jsonb NOT NULL,
    copies jsonb NOT NULL,
    subject text NOT NULL,
    body_text text NOT NULL,
    -- Sanitised by the channel service, and sanitised again whenever it is answered.
    body_html text NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- Empty for inbound messages.
    delivery_state text NOT NULL,
    delivery_detail text NOT NULL,
    agent_key text NOT NULL,
    mail_class text NOT NULL,
    sender_verified boolean NOT NULL,
    internet_message_id text NOT NULL,
    PRIMARY KEY (interaction_id, message_id),
    CONSTRAINT place_in_thread_is_unique UNIQUE (interaction_id, position) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT position_is_positive CHECK (position > 0),
    CONSTRAINT direction_is_inbound_or_outbound CHECK (direction IN (1, 2))
);

-- What is known of a file; its content stays in the object store under its SHA-256.
CREATE TABLE attachment (
    interaction_id uuid NOT NULL,
    message_id uuid NOT NULL,
    position integer NOT NULL,
    sha256 text NOT NULL,
    file_name text NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL,
    content_id text NOT NULL,
    inline boolean NOT NULL,
    PRIMARY KEY (interaction_id, message_id, position),
    FOREIGN KEY (interaction_id, message_id) REFERENCES message ON DELETE CASCADE,
    CONSTRAINT size_is_not_negative CHECK (size_bytes >= 0)
);

CREATE TABLE form_value (
    interaction_id uuid NOT NULL REFERENCES thread ON DELETE CASCADE,
    field_key text NOT NULL,
    label text NOT NULL,
    -- Null for a field that was left empty.
    value text,
    PRIMARY KEY (interaction_id, field_key)
);

-- The words of messages, subject and form. In parts, because PostgreSQL bounds a tsvector to 1 MiB and a thread may
-- hold thousands of messages; nearly every thread has one part.
CREATE TABLE thread_words (
    interaction_id uuid NOT NULL REFERENCES thread ON DELETE CASCADE,
    part integer NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (interaction_id, part)
);
CREATE INDEX thread_words_word ON thread_words USING gin (words);
