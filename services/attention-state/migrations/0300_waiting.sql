-- An attention that a dialer began waits, without an interaction, for the customer's answer; it counts as live.
ALTER TABLE attention.attention
    DROP CONSTRAINT state_is_known,
    ADD CONSTRAINT state_is_known CHECK (state IN ('waiting', 'open', 'closed')),
    ADD CONSTRAINT waiting_iff_no_interaction_yet CHECK (state = 'closed' OR (state = 'waiting') = (interaction_count = 0)),
    ADD CONSTRAINT waiting_only_of_whatsapp CHECK (state <> 'waiting' OR channel = 'whatsapp');

DROP INDEX attention.one_open_attention_per_lineage;
CREATE UNIQUE INDEX one_open_attention_per_lineage ON attention.attention (lineage_id)
    WHERE state <> 'closed' AND NOT flooded;

-- The live conversations of a customer: an answer to what we wrote first is found by him, not by the channel's conversation.
CREATE INDEX live_chat_of_contact ON attention.attention (contact_id, account_key)
    WHERE channel = 'whatsapp' AND state <> 'closed' AND NOT flooded;
