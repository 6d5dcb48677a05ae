-- An alteration whose message is in the history only is tried again after a pause that grows: those that can never be applied (the
-- history keeps the thread no longer) must not stand before all others.
ALTER TABLE attention.alteration
    ADD COLUMN next_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN tries integer NOT NULL DEFAULT 0;
