-- Whom Meta says the sends of an attention go to, where that is another contact than the attention's: the number that was dialled has
-- a WhatsApp id by which somebody is known already. Both contacts stay until a person merges them; the answer finds the attention here.
CREATE TABLE attention.reached (
    -- No foreign key: it is noted beside whoever holds the attention, and must not wait for him.
    attention_id uuid NOT NULL,
    contact_id   uuid NOT NULL REFERENCES contact.contact,
    noted_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (attention_id, contact_id)
);
CREATE INDEX reached_by_contact ON attention.reached (contact_id);
