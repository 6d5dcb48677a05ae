-- The accounts as last read from attention-state, so that mail is taken after a restart while attention-state is away.
CREATE TABLE mail.directory (
    only_row boolean     PRIMARY KEY DEFAULT true,
    version  bigint      NOT NULL,
    -- hilo.directory.v1.Directory with nothing but accounts; it names secrets, it holds none.
    accounts bytea       NOT NULL,
    kept_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT directory_is_one_row CHECK (only_row)
);
