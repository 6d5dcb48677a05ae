-- What an agent is writing: the draft of a reply and the form. Both are saved against a base version.
CREATE TABLE attention.draft (
    interaction_id uuid PRIMARY KEY REFERENCES attention.interaction,
    version        bigint NOT NULL,
    body           text NOT NULL,
    saved_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT version_counts_from_one CHECK (version >= 1)
);

CREATE TABLE attention.form_answer (
    interaction_id uuid PRIMARY KEY REFERENCES attention.interaction,
    form_key       text NOT NULL,
    form_version   integer NOT NULL,
    version        bigint NOT NULL,
    -- Field key to value; several choices are separated by line feeds.
    answers        jsonb NOT NULL,
    saved_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT version_counts_from_one CHECK (version >= 1),
    CONSTRAINT answers_are_an_object CHECK (jsonb_typeof(answers) = 'object')
);
