-- The service level counts every inbound interaction once, by its first opening: a release, a transfer or a reopening later
-- does not make it late.
ALTER TABLE attention.interaction ADD COLUMN first_opened_at timestamptz;
UPDATE attention.interaction SET first_opened_at = opened_at WHERE opened_at IS NOT NULL;
-- Written once per interaction; the live panel reads its newest end.
CREATE INDEX taken_lately ON attention.interaction (first_opened_at) WHERE direction = 'inbound' AND first_opened_at IS NOT NULL;
