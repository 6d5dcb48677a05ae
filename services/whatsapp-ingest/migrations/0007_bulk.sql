-- What no person waits for (a dialer's row) leaves after what people wrote.
ALTER TABLE whatsapp.send ADD COLUMN bulk boolean NOT NULL DEFAULT false;
CREATE INDEX send_by_turn ON whatsapp.send (account_key, bulk, next_at, sequence) WHERE next_at IS NOT NULL;
