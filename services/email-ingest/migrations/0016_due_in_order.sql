-- Due sends are picked in this order; the index gives it, so that a pick ends with its limit and not with the backlog.
DROP INDEX mail.send_by_due;
CREATE INDEX send_by_due ON mail.send (account_key, next_at, sequence) WHERE next_at IS NOT NULL;
