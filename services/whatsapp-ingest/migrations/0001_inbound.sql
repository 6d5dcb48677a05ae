-- The webhook ledger: every body that Meta signed is here, as it came, before Meta is told that it arrived.
CREATE SCHEMA IF NOT EXISTS whatsapp;

-- One row per POST. Insert-only: parsing is a later, repeatable step and writes elsewhere.
CREATE TABLE whatsapp.webhook (
    id          uuid        PRIMARY KEY,
    -- Arrival order within a replica; drawn before commit, so it orders the waiting rows and is no cursor.
    position    bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    body        bytea       NOT NULL,
    -- Names of the app secrets that the signature fits: an app speaks for its own numbers only.
    signed_by   text[]      NOT NULL,
    traceparent text,
    received_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_is_signed CHECK (cardinality(signed_by) > 0)
);

-- Bodies that wait for the parser.
CREATE TABLE whatsapp.parse_queue (
    webhook_id uuid        PRIMARY KEY REFERENCES whatsapp.webhook (id),
    position   bigint      NOT NULL,
    -- Begun attempts, written before the work, so that a body that kills its process is found out.
    attempts   integer     NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX parse_queue_by_position ON whatsapp.parse_queue (position);

-- One row per customers' item that was handed over; the unique key makes a repeated webhook harmless.
CREATE TABLE whatsapp.item (
    id               uuid        PRIMARY KEY,
    phone_number_id  text        NOT NULL,
    wamid            text        NOT NULL,
    webhook_id       uuid        NOT NULL REFERENCES whatsapp.webhook (id),
    -- Where in the body it stands (RFC 6901).
    place            text        NOT NULL,
    kind             text        NOT NULL,
    parser_version   integer     NOT NULL,
    account_key      text        NOT NULL,
    conversation_key uuid        NOT NULL,
    sequence         bigint      NOT NULL,
    parsed_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT item_once_per_number UNIQUE (phone_number_id, wamid),
    CONSTRAINT item_sequence_is_positive CHECK (sequence > 0),
    CONSTRAINT item_sequence_once_per_key UNIQUE (conversation_key, sequence)
);

-- Who a customer is to an account, by each of his identities, and the ordering key of all he writes to it.
CREATE TABLE whatsapp.customer (
    account_key      text        NOT NULL,
    kind             text        NOT NULL,
    value            text        NOT NULL,
    conversation_key uuid        NOT NULL,
    known_since      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_key, kind, value),
    CONSTRAINT customer_kind_is_known CHECK (kind IN ('wa_id', 'user_id'))
);
CREATE INDEX customer_by_key ON whatsapp.customer (conversation_key, kind);

-- Notices about accounts, numbers and templates, and everything else that is no customer's item; the body has the words.
CREATE TABLE whatsapp.notice (
    webhook_id          uuid        NOT NULL REFERENCES whatsapp.webhook (id),
    place               text        NOT NULL,
    business_account_id text        NOT NULL,
    field               text        NOT NULL,
    event               text        NOT NULL,
    alarming            boolean     NOT NULL,
    parsed_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (webhook_id, place)
);

-- Last number given in a key; its row lock makes numbers gapless and their order the order of commit.
CREATE TABLE whatsapp.sequence (
    kind text   NOT NULL,
    key  uuid   NOT NULL,
    last bigint NOT NULL,
    PRIMARY KEY (kind, key),
    CONSTRAINT sequence_kind_is_known CHECK (kind IN ('inbound', 'delivery'))
) WITH (fillfactor = 70);

-- The accounts as last read from attention-state, so that webhooks are taken after a restart while attention-state is away.
CREATE TABLE whatsapp.directory (
    only_row boolean     PRIMARY KEY DEFAULT true,
    version  bigint      NOT NULL,
    -- hilo.directory.v1.Directory with nothing but accounts; it names secrets, it holds none.
    accounts bytea       NOT NULL,
    kept_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT directory_is_one_row CHECK (only_row)
);
