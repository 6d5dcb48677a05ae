-- Interactions that came in outside of their campaign's hours, and the one automatic reply an attention may get.
ALTER TABLE attention.interaction ADD COLUMN out_of_hours boolean NOT NULL DEFAULT false;

-- A row per attention for which a reply was thought of, made with the mail that began an interaction out of hours.
CREATE TABLE attention.automatic_reply (
    attention_id   uuid PRIMARY KEY REFERENCES attention.attention,
    interaction_id uuid NOT NULL,
    -- Whom it goes to, normalised; nobody gets more than one within a day.
    address        text NOT NULL,
    noted_at       timestamptz NOT NULL DEFAULT now(),
    -- `due`, then `sent` or `withheld`.
    state          text NOT NULL DEFAULT 'due',
    -- Why it was withheld, a stable word.
    reason         text NOT NULL DEFAULT '',
    settled_at     timestamptz,
    CONSTRAINT state_is_known CHECK (state IN ('due', 'sent', 'withheld')),
    CONSTRAINT settled_at_iff_settled CHECK ((state = 'due') = (settled_at IS NULL)),
    CONSTRAINT reason_iff_withheld CHECK ((state = 'withheld') = (reason <> ''))
);
CREATE INDEX due_automatic_reply ON attention.automatic_reply (noted_at) WHERE state = 'due';
CREATE INDEX sent_automatic_reply ON attention.automatic_reply (address, settled_at) WHERE state = 'sent';
CREATE INDEX automatic_reply_budget ON attention.automatic_reply (settled_at) WHERE state = 'sent';

-- An automatic reply is outbound and of no agent.
ALTER TABLE attention.message DROP CONSTRAINT agent_iff_not_inbound;
ALTER TABLE attention.message ADD CONSTRAINT agent_where_a_person_of_ours_wrote
    CHECK (CASE direction WHEN 'inbound' THEN agent_key IS NULL WHEN 'note' THEN agent_key IS NOT NULL ELSE true END);
