-- Hidden recipients of our mails, and what became of each recipient. NULL: not known, because an earlier release stored the message;
-- its thread is fetched once more and gets them, whatever its version.
ALTER TABLE message
    -- List of {"address", "name"}.
    ADD COLUMN hidden_copies jsonb,
    -- List of {"address", "state", "code", "enhanced", "words"}, as last reported.
    ADD COLUMN recipient_states jsonb,
    ADD CONSTRAINT recipients_are_known_together CHECK ((hidden_copies IS NULL) = (recipient_states IS NULL));
-- 2 is outbound; nobody else's mail has hidden recipients that we know of.
CREATE INDEX message_recipients_unknown ON message (interaction_id) WHERE direction = 2 AND hidden_copies IS NULL;

ALTER TABLE arriving_message
    ADD COLUMN hidden_copies jsonb,
    ADD COLUMN recipient_states jsonb;
