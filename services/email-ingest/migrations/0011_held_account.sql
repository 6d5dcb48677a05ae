-- Since when a due send waits because its account is switched off; null when it does not.
ALTER TABLE mail.send ADD COLUMN held_since timestamptz;
