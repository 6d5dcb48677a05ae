-- A customer whose number Meta hides stops under his business-scoped user id, which binds his number once that is known.
ALTER TABLE dialer.stop DROP CONSTRAINT number_is_e164;
ALTER TABLE dialer.stop ADD CONSTRAINT number_or_user_id
    CHECK (number ~ '^\+[0-9]{8,15}$' OR number ~ '^[A-Za-z0-9._-]{1,200}$');
