-- An offer made by a transfer goes back to its sender when it is not taken; internal notes lie in the thread.
ALTER TABLE attention.interaction ADD COLUMN offer_sender_key text;
ALTER TABLE attention.interaction ADD CONSTRAINT sender_only_with_offer_to_an_agent
    CHECK (offer_sender_key IS NULL OR offer_agent_key IS NOT NULL);

ALTER TABLE attention.message DROP CONSTRAINT direction_is_known;
ALTER TABLE attention.message ADD CONSTRAINT direction_is_known CHECK (direction IN ('inbound', 'outbound', 'note'));
ALTER TABLE attention.message DROP CONSTRAINT agent_iff_outbound;
ALTER TABLE attention.message ADD CONSTRAINT agent_iff_not_inbound
    CHECK ((direction = 'inbound') = (agent_key IS NULL));
