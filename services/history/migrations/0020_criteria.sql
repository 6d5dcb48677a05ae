-- What the remaining criteria, the detail and the export need.

-- A form value is found without naming its field: an entry is `field=value`, and no field key holds a `=`.
CREATE FUNCTION form_values_of(entries text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(DISTINCT substr(entry, strpos(entry, '=') + 1)), '{}') FROM unnest(entries) AS entry
$$;
CREATE INDEX thread_form_value ON thread USING gin (form_values_of(form_entries));

-- The fields that forms of a campaign ever had, so that a search for a mistyped field can be refused.
CREATE TABLE form_field (
    campaign_key text NOT NULL,
    field_key text NOT NULL,
    PRIMARY KEY (campaign_key, field_key)
);
INSERT INTO form_field
SELECT DISTINCT t.campaign_key, f.field_key FROM form_value f JOIN thread t USING (interaction_id);

-- The interactions of an attention in their order.
CREATE INDEX thread_attention ON thread (attention_id, ordinal, interaction_id);

ALTER TABLE thread ADD COLUMN vip boolean NOT NULL DEFAULT false;

-- Internal notes; the customer never sees them, and no search of words finds them.
CREATE TABLE note (
    interaction_id uuid NOT NULL REFERENCES thread ON DELETE CASCADE,
    note_id uuid NOT NULL,
    author_key text NOT NULL,
    body_text text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (interaction_id, note_id)
);

-- Names of attachments are words of their message. Threads stored before get them in a part of their own.
INSERT INTO thread_words (interaction_id, part, words)
SELECT a.interaction_id,
    1 + coalesce((SELECT max(w.part) FROM thread_words w WHERE w.interaction_id = a.interaction_id), 0),
    search_vector(regexp_replace(lower(left(string_agg(a.file_name, ' '), 60000)), '[^[:alnum:]]+', ' ', 'g'))
FROM attachment a WHERE a.file_name <> '' GROUP BY a.interaction_id;
