-- Tags, quick replies, extra fields of contacts; hours, orphan timeout and service level of campaigns.
CREATE TABLE directory.tag (
    tag_key       text PRIMARY KEY,
    name          text NOT NULL,
    color         text NOT NULL,
    -- Campaigns it may be used in; empty means all.
    campaign_keys text[] NOT NULL,
    active        boolean NOT NULL,
    CONSTRAINT tag_key_is_a_key CHECK (tag_key ~ '^[a-z0-9-]{1,40}$')
);

CREATE TABLE directory.quick_reply (
    quick_reply_key text PRIMARY KEY,
    title           text NOT NULL,
    text_body       text NOT NULL,
    -- Sanitised; empty when the text is all.
    html_body       text NOT NULL,
    -- Campaigns it may be used in; empty means all.
    campaign_keys   text[] NOT NULL,
    active          boolean NOT NULL,
    CONSTRAINT quick_reply_key_is_a_key CHECK (quick_reply_key ~ '^[a-z0-9-]{1,40}$')
);

CREATE TABLE directory.contact_field (
    field_key text PRIMARY KEY,
    -- Order of the fields on a desk, from 0.
    position  integer NOT NULL,
    -- {key, label, type, required, choices, minimum, maximum}, as in a form's version.
    field     jsonb NOT NULL,
    active    boolean NOT NULL,
    CONSTRAINT field_key_is_a_key CHECK (field_key ~ '^[a-z0-9-]{1,40}$'),
    CONSTRAINT position_is_not_negative CHECK (position >= 0)
);

-- Nullable, because the release before writes whole rows without them; absent means off and always open.
ALTER TABLE directory.campaign
    ADD COLUMN orphan_timeout_seconds integer,
    ADD COLUMN service_level_seconds integer,
    -- {time_zone, weekly, holidays, automatic_reply}; absent is always open.
    ADD COLUMN hours jsonb,
    ADD CONSTRAINT orphan_timeout_is_not_negative CHECK (orphan_timeout_seconds >= 0),
    ADD CONSTRAINT service_level_is_not_negative CHECK (service_level_seconds >= 0);
