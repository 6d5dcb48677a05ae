-- By which of his ids Meta named the contact: the WhatsApp id, without `+`, or the user id. A contact may have several, and one of them may
-- belong to somebody else by now, so what he writes under another one is no answer to what was sent. Rows of an earlier release, which
-- did not keep the id, stay with an empty one and count for nobody.
ALTER TABLE attention.reached
    ADD COLUMN identity text NOT NULL DEFAULT '',
    DROP CONSTRAINT reached_pkey,
    ADD PRIMARY KEY (attention_id, contact_id, identity);
