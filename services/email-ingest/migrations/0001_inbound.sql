-- The mail ledger: every mail is here, whole, before anybody is told that it was taken.
CREATE SCHEMA IF NOT EXISTS mail;

-- One row per mail and receiving account. Insert-only: parsing is a later, repeatable step and writes elsewhere.
-- The raw bytes are here up to 256 kB, else in the object store under their SHA-256 (`digest`).
CREATE TABLE mail.inbound (
    id                  uuid        PRIMARY KEY,
    -- Arrival order; drawn before commit, so it orders the waiting mails of one author and is no cursor.
    position            bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    account_key         text        NOT NULL,
    source              text        NOT NULL,
    mailbox             text,
    uid_validity        bigint,
    uid                 bigint,
    digest              bytea       NOT NULL,
    size_bytes          bigint      NOT NULL,
    raw                 bytea,
    -- Without a Message-ID two equal mails may both be meant; with one they are the same mail sent again.
    has_message_id      boolean     NOT NULL,
    -- Why the mail cannot be parsed at all (larger than the largest mail: only its header was fetched).
    unfit               text,
    envelope_sender     text,
    envelope_recipients text[]      NOT NULL,
    peer                text,
    helo                text,
    -- Ordering key: UUID v5 of account and author.
    conversation_key    uuid        NOT NULL,
    traceparent         text,
    received_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT inbound_source_is_known CHECK (source IN ('smtp', 'imap')),
    CONSTRAINT inbound_has_uid_iff_imap
        CHECK ((source = 'imap') = (mailbox IS NOT NULL AND uid_validity IS NOT NULL AND uid IS NOT NULL)),
    CONSTRAINT inbound_raw_is_small CHECK (raw IS NULL OR octet_length(raw) <= 262144),
    CONSTRAINT inbound_digest_is_sha256 CHECK (octet_length(digest) = 32)
);
-- A mail fetched twice is one row.
CREATE UNIQUE INDEX inbound_once_per_uid ON mail.inbound (account_key, mailbox, uid_validity, uid) WHERE source = 'imap';
-- A sender that did not hear our 250 sends the same bytes again: still one row.
CREATE UNIQUE INDEX inbound_once_per_smtp_mail ON mail.inbound (account_key, digest)
    WHERE source = 'smtp' AND has_message_id;
-- After a change of UIDVALIDITY the whole mailbox comes again.
CREATE INDEX inbound_by_digest ON mail.inbound (account_key, digest) WHERE source = 'imap';

-- Mails that wait for a parser. `not_before` is also the claim: a worker that dies loses it by time.
CREATE TABLE mail.parse_queue (
    inbound_id       uuid        PRIMARY KEY REFERENCES mail.inbound (id),
    position         bigint      NOT NULL,
    conversation_key uuid        NOT NULL,
    -- Begun attempts, written before the work, so that a mail that kills its process is found out.
    attempts         integer     NOT NULL DEFAULT 0,
    -- Look-ups of the sender that failed for now.
    lookups          integer     NOT NULL DEFAULT 0,
    not_before       timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX parse_queue_by_position ON mail.parse_queue (position);
CREATE INDEX parse_queue_by_key ON mail.parse_queue (conversation_key, position);

-- What became of a mail.
CREATE TABLE mail.parsed (
    inbound_id       uuid        PRIMARY KEY REFERENCES mail.inbound (id),
    parser_version   integer     NOT NULL,
    conversation_key uuid        NOT NULL,
    sequence         bigint      NOT NULL,
    message_id       text        NOT NULL,
    class            text        NOT NULL,
    dmarc            text        NOT NULL,
    parsed_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT parsed_sequence_is_positive CHECK (sequence > 0),
    CONSTRAINT parsed_sequence_once_per_key UNIQUE (conversation_key, sequence)
);

-- Last number given in a key; its row lock makes numbers gapless and their order the order of commit.
CREATE TABLE mail.sequence (
    kind text   NOT NULL,
    key  uuid   NOT NULL,
    last bigint NOT NULL,
    PRIMARY KEY (kind, key),
    CONSTRAINT sequence_kind_is_known CHECK (kind IN ('inbound', 'delivery'))
) WITH (fillfactor = 70);

-- How far a mailbox was read; moves in the transaction that stores the mail.
CREATE TABLE mail.cursor (
    account_key  text        NOT NULL,
    mailbox      text        NOT NULL,
    uid_validity bigint      NOT NULL,
    last_uid     bigint      NOT NULL,
    moved_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_key, mailbox, uid_validity)
) WITH (fillfactor = 70);
