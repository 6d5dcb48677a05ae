-- Overflow into another campaign: the campaigns an interaction left by overflow since it was queued, so that a chain of
-- overflows visits each at most once.
ALTER TABLE attention.interaction ADD COLUMN overflowed_from text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT overflowed_from_only_while_queued CHECK (state = 'queued' OR cardinality(overflowed_from) = 0);
