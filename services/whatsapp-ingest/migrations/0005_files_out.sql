-- Files that go out, and marks, which are no messages.

-- Files of ours at Meta, by what they are: uploaded once, sent as often as wanted while Meta keeps them (30 days).
CREATE TABLE whatsapp.uploaded (
    phone_number_id text        NOT NULL,
    -- Key of the content in the object store.
    sha256          text        NOT NULL,
    media_type      text        NOT NULL,
    -- Meta's id of it.
    media_id        text        NOT NULL,
    uploaded_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (phone_number_id, sha256, media_type)
);
CREATE INDEX uploaded_by_age ON whatsapp.uploaded (uploaded_at);

ALTER TABLE whatsapp.send
    -- The attempt is still with its files: whoever finds it cut off knows that nothing was sent.
    ADD COLUMN uploading boolean NOT NULL DEFAULT false,
    -- A read mark: again is harmless, and only its end is told.
    ADD COLUMN is_mark boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT send_uploading_while_attempting CHECK (NOT uploading OR state = 'attempting');
