-- What an interaction asks for by itself, fixed when it enters the queue of its campaign: see `attention::work::entering`. An item that
-- is held counts with its own weight, whatever its campaign says by now, so that as much is freed as was taken.
ALTER TABLE attention.interaction
    ADD COLUMN weight              integer NOT NULL DEFAULT 1,
    ADD COLUMN vip                 boolean NOT NULL DEFAULT false,
    ADD COLUMN preferred_agent_key text,
    ADD COLUMN preferred_until     timestamptz,
    ADD CONSTRAINT weight_is_positive CHECK (weight >= 1),
    ADD CONSTRAINT preferred_until_iff_preferred
        CHECK ((preferred_agent_key IS NULL) = (preferred_until IS NULL));

-- The newest attentions of a contact, among which his last agent is looked for.
CREATE INDEX newest_attention_of_contact ON attention.attention (contact_id, attention_id);
DROP INDEX attention.attention_of_contact;

-- When the load last became 0; null when it never was anything else. Load is the sum of weights from here on.
ALTER TABLE assignment.agent_load ADD COLUMN idle_since timestamptz;
