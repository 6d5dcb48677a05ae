-- What a WhatsApp item is beyond its text, and why a message failed as a stable word.
ALTER TABLE message
    -- hilo.history.v1.WhatsAppItem; null in mails.
    ADD COLUMN whatsapp bytea,
    ADD COLUMN delivery_reason text NOT NULL DEFAULT '';

ALTER TABLE arriving_message
    ADD COLUMN whatsapp bytea,
    ADD COLUMN delivery_reason text NOT NULL DEFAULT '';
