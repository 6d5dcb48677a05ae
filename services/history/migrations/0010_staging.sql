-- Large threads come in pages. They lie here until the last page is there, then move into `message` in one transaction; what a
-- crash left is dropped after an hour. Not logged: a lost page is fetched again.
CREATE UNLOGGED TABLE arriving_message (
    -- One fetch of one version by one replica.
    fetch_id uuid NOT NULL,
    -- Place in the thread, from 1.
    position integer NOT NULL,
    arrived_at timestamptz NOT NULL DEFAULT now(),
    message_id uuid NOT NULL,
    direction smallint NOT NULL,
    from_address text NOT NULL,
    from_name text NOT NULL,
    recipients jsonb NOT NULL,
    copies jsonb NOT NULL,
    subject text NOT NULL,
    body_text text NOT NULL,
    body_html text NOT NULL,
    -- List of {sha256, file_name, media_type, size_bytes, content_id, inline}.
    attachments jsonb NOT NULL,
    occurred_at timestamptz NOT NULL,
    delivery_state text NOT NULL,
    delivery_detail text NOT NULL,
    agent_key text NOT NULL,
    mail_class text NOT NULL,
    sender_verified boolean NOT NULL,
    internet_message_id text NOT NULL,
    PRIMARY KEY (fetch_id, position),
    CONSTRAINT position_is_positive CHECK (position > 0)
);
CREATE INDEX arriving_message_age ON arriving_message (arrived_at);
