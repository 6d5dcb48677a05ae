-- Contacts are found by part of their name, address or number, accents and case ignored; they may be made by hand and
-- merged. unaccent and pg_trgm are trusted extensions of PostgreSQL's contrib, so the owner of the database may create them.
CREATE EXTENSION IF NOT EXISTS unaccent WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;

-- Lower case, no accents. Immutable as long as nobody edits the dictionary, which nobody may but a superuser.
CREATE FUNCTION contact.folded(words text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT lower(public.unaccent('public.unaccent'::regdictionary, words))
$$;

-- Pattern that finds the words anywhere in a folded text; `%`, `_` and `\` of the caller mean themselves.
CREATE FUNCTION contact.part(words text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT '%' || replace(replace(replace(contact.folded(words), '\', '\\'), '%', '\%'), '_', '\_') || '%'
$$;

ALTER TABLE contact.contact
    ADD COLUMN name_folded text NOT NULL GENERATED ALWAYS AS (contact.folded(name)) STORED,
    -- User who made it by hand; null for those made by their first message.
    ADD COLUMN created_by text,
    -- The contact it was merged into, for ever; never itself one that was merged.
    ADD COLUMN merged_into uuid REFERENCES contact.contact,
    ADD CONSTRAINT not_merged_into_itself CHECK (merged_into <> contact_id);
CREATE INDEX contact_by_name_part ON contact.contact USING gin (name_folded public.gin_trgm_ops);
CREATE INDEX contact_by_name ON contact.contact (name_folded, contact_id) WHERE merged_into IS NULL;
CREATE INDEX contact_by_creator ON contact.contact (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX merged_contact ON contact.contact (merged_into) WHERE merged_into IS NOT NULL;

ALTER TABLE contact.identity
    ADD COLUMN value_folded text NOT NULL GENERATED ALWAYS AS (contact.folded(value)) STORED;
CREATE INDEX identity_by_value_part ON contact.identity USING gin (value_folded public.gin_trgm_ops);

-- Who changed a contact and how; values are left out, so that erasing a contact need not search here.
CREATE TABLE contact.trail (
    contact_id       uuid NOT NULL REFERENCES contact.contact,
    -- Version of the contact after it.
    version          bigint NOT NULL,
    changed_at       timestamptz NOT NULL DEFAULT now(),
    -- User key.
    changed_by       text NOT NULL,
    what             text NOT NULL,
    -- Of a merge: the contact that went, and how many attentions moved.
    merged_contact   uuid REFERENCES contact.contact,
    moved_attentions integer,
    PRIMARY KEY (contact_id, version),
    CONSTRAINT what_is_known CHECK (what IN ('created', 'updated', 'merged')),
    CONSTRAINT merge_is_told_whole
        CHECK ((what = 'merged') = (merged_contact IS NOT NULL) AND (what = 'merged') = (moved_attentions IS NOT NULL))
);
