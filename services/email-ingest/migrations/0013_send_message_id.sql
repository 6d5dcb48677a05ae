-- By which a mail that comes back names its send; null for sends of the releases before.
ALTER TABLE mail.send ADD COLUMN message_id text;
CREATE INDEX send_by_message_id ON mail.send (account_key, message_id);
