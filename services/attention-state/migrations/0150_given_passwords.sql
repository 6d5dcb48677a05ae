-- What the last text gave as passwords, so that giving the same ones again costs one argon2id computation instead of one per
-- user, and so that a text which is applied again does not take back what a user has chosen since.

-- The hash a text gave, once the user has taken another; none while password_hash is it.
ALTER TABLE identity.credential ADD COLUMN given_hash text
    CONSTRAINT only_argon2id_is_given CHECK (given_hash LIKE '$argon2id$%');

-- At most one row. Guessing against it costs as much as against a credential, and needs the passwords of all users named.
CREATE TABLE identity.given (
    only_row    boolean PRIMARY KEY DEFAULT true CONSTRAINT there_is_one_row CHECK (only_row),
    -- argon2id PHC string over all passwords that were given in clear, with their users.
    fingerprint text NOT NULL CONSTRAINT only_argon2id_fingerprint CHECK (fingerprint LIKE '$argon2id$%'),
    -- Those users, sorted.
    user_keys   text[] NOT NULL,
    -- SHA-256 over their given hashes: another hash of any of them, whoever stored it, ends the fingerprint.
    hashes      bytea NOT NULL
);
