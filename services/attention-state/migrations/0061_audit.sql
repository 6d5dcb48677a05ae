-- Who changed what in the directory and of identities. Rows are only added.
CREATE TABLE directory.audit (
    audit_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- `user:<key>` or `service:<name>`.
    actor       text NOT NULL,
    action      text NOT NULL,
    -- What kind of thing changed, and its key; the time zone has none.
    kind        text NOT NULL,
    key         text NOT NULL,
    -- Fields that differ, by name, as text. Never a secret: passwords and tokens are no fields.
    before      jsonb NOT NULL,
    after       jsonb NOT NULL,
    -- Version of the directory it made; null for identities.
    version     bigint,
    CONSTRAINT action_is_known CHECK (action IN
        ('created', 'changed', 'deactivated', 'password_set', 'password_changed', 'signed_out')),
    CONSTRAINT before_is_an_object CHECK (jsonb_typeof(before) = 'object'),
    CONSTRAINT after_is_an_object CHECK (jsonb_typeof(after) = 'object')
);
CREATE INDEX audit_of_thing ON directory.audit (kind, key, audit_id DESC);
CREATE INDEX audit_of_actor ON directory.audit (actor, audit_id DESC);

-- Tokens the local issuer has made and that may still be alive, so that a new password ends all of them.
CREATE TABLE identity.issued_token (
    token_id   uuid PRIMARY KEY,
    user_key   text NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX issued_token_of_user ON identity.issued_token (user_key);
CREATE INDEX issued_token_expiry ON identity.issued_token (expires_at);
