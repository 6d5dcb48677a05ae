-- Bodies leave some time after history has stored them. Heads, keys and participants stay for ever.
ALTER TABLE attention.interaction
    -- When history confirmed `confirmed_version`; the grace time runs from here.
    ADD COLUMN confirmed_at timestamptz,
    ADD COLUMN purged_at timestamptz;
UPDATE attention.interaction SET confirmed_at = now() WHERE confirmed_version IS NOT NULL;
ALTER TABLE attention.interaction
    ADD CONSTRAINT purged_only_when_ended CHECK (purged_at IS NULL OR state = 'ended');
CREATE INDEX purgeable ON attention.interaction (confirmed_at, interaction_id)
    WHERE state = 'ended' AND purged_at IS NULL AND confirmed_version = version;

ALTER TABLE attention.message
    -- True while text, HTML and attachments are in the history only.
    ADD COLUMN purged boolean NOT NULL DEFAULT false,
    -- How many attachments it has, once their list has left.
    ADD COLUMN purged_attachments integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT purged_has_no_content
        CHECK (NOT purged OR (text_body = '' AND html_body = '' AND attachments = '[]'));
