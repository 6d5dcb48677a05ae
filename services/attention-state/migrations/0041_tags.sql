-- Tags of attentions: keys of the directory, sorted, each once.
ALTER TABLE attention.attention
    ADD COLUMN tags text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT tags_are_bounded CHECK (cardinality(tags) <= 20);
