-- Mails without a Message-ID are looked for by their bytes when they come again; the time bounds the look.
CREATE INDEX inbound_nameless_by_digest ON mail.inbound (account_key, digest, received_at)
    WHERE source = 'smtp' AND NOT has_message_id;
