-- Files that agents are uploading. The pieces wait here, where every replica finds them, until the whole file is checked and
-- stored by its content; expired uploads are swept.
CREATE SCHEMA IF NOT EXISTS conversation;

CREATE TABLE conversation.upload (
    upload_id      uuid PRIMARY KEY,
    user_key       text NOT NULL,
    file_name      text NOT NULL,
    media_type     text NOT NULL,
    size_bytes     bigint NOT NULL,
    sha256         bytea NOT NULL,
    received_bytes bigint NOT NULL DEFAULT 0,
    finished_at    timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    CONSTRAINT size_is_bounded CHECK (size_bytes BETWEEN 1 AND 26214400),
    CONSTRAINT sha256_has_32_bytes CHECK (octet_length(sha256) = 32),
    CONSTRAINT received_fits_size CHECK (received_bytes BETWEEN 0 AND size_bytes),
    CONSTRAINT finished_only_when_whole CHECK (finished_at IS NULL OR received_bytes = size_bytes)
);
CREATE INDEX upload_of_user ON conversation.upload (user_key, expires_at);
CREATE INDEX upload_by_expiry ON conversation.upload (expires_at);

CREATE TABLE conversation.upload_chunk (
    upload_id uuid NOT NULL REFERENCES conversation.upload ON DELETE CASCADE,
    -- Place of its first byte.
    start     bigint NOT NULL,
    content   bytea NOT NULL,
    PRIMARY KEY (upload_id, start),
    CONSTRAINT content_is_bounded CHECK (octet_length(content) BETWEEN 1 AND 1048576)
);
-- What is uploaded is mostly compressed already.
ALTER TABLE conversation.upload_chunk ALTER COLUMN content SET STORAGE EXTERNAL;
