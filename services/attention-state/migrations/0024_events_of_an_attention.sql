-- ListEvents heals the gap of a filtered subscriber: the events of one attention after a sequence, as long as the
-- outbox log keeps them. Kit's own indexes follow publication; this one follows the attention.
CREATE INDEX IF NOT EXISTS outbox_log_by_key ON kit.outbox_log (key, sequence);
