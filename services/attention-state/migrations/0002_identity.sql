-- Sign-in with the local issuer: password hashes, the throttle, revoked tokens.
CREATE SCHEMA identity;

CREATE TABLE identity.credential (
    user_key      text PRIMARY KEY REFERENCES directory.app_user,
    -- argon2id PHC string.
    password_hash text NOT NULL,
    changed_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT only_argon2id CHECK (password_hash LIKE '$argon2id$%')
);

-- Per name tried, known or not, so that an unknown user is answered like a known one. Rows leave when they are cold.
CREATE TABLE identity.login_throttle (
    user_key      text PRIMARY KEY,
    -- Attempts since the last success; an attempt counts as failed until its password was found right.
    failures      integer NOT NULL,
    blocked_until timestamptz NOT NULL,
    attempted_at  timestamptz NOT NULL,
    CONSTRAINT failures_is_positive CHECK (failures >= 1)
);
CREATE INDEX cold_login_throttle ON identity.login_throttle (attempted_at);

CREATE TABLE identity.revoked_token (
    token_id   uuid PRIMARY KEY,
    user_key   text NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT now(),
    -- Afterwards the token is dead by itself and the row may go.
    expires_at timestamptz NOT NULL
);
CREATE INDEX revoked_token_expiry ON identity.revoked_token (expires_at);
