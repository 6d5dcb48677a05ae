-- Schema of hilo-kit in every service's database: outbox, inbox, leases, dead letters, idempotency.
-- sqlx creates the schema before its own migration table; psql users need it as well.
CREATE SCHEMA IF NOT EXISTS kit;

-- Outbox ------------------------------------------------------------------------------------------------------------

-- Position of a row within one key follows its sequence, because both are drawn under the key's row lock.
-- Positions of different keys say nothing about commit order, so nobody may use them as a cursor for publishing.
CREATE SEQUENCE kit.outbox_position AS bigint CACHE 1;

-- Insert-only; dropped by whole days. `key` orders, `partition` decides which relay owns the row; `headers` is a JSON
-- list of pairs, kept as the text it was.
CREATE TABLE kit.outbox_log (
    id         uuid        NOT NULL,
    day        date        NOT NULL,
    position   bigint      NOT NULL DEFAULT nextval('kit.outbox_position'),
    partition  smallint    NOT NULL,
    stream     text        NOT NULL,
    subject    text        NOT NULL,
    key        uuid        NOT NULL,
    sequence   bigint      NOT NULL,
    headers    text        NOT NULL,
    payload    bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
CREATE INDEX outbox_log_by_position ON kit.outbox_log (stream, partition, position);

-- Rows no relay has got an ack for. `round` makes the Msg-Id of a re-publication fresh.
CREATE TABLE kit.outbox_pending (
    id        uuid     PRIMARY KEY,
    day       date     NOT NULL,
    position  bigint   NOT NULL,
    partition smallint NOT NULL,
    stream    text     NOT NULL,
    key       uuid     NOT NULL,
    sequence  bigint   NOT NULL,
    round     integer  NOT NULL DEFAULT 0
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX outbox_pending_by_position ON kit.outbox_pending (partition, position);

-- Hand-over rows the broker acked, until the reader's own commit is known.
CREATE TABLE kit.outbox_unconfirmed (
    id              uuid        PRIMARY KEY,
    day             date        NOT NULL,
    position        bigint      NOT NULL,
    partition       smallint    NOT NULL,
    stream          text        NOT NULL,
    key             uuid        NOT NULL,
    sequence        bigint      NOT NULL,
    round           integer     NOT NULL,
    broker_sequence bigint      NOT NULL,
    published_at    timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX outbox_unconfirmed_by_age ON kit.outbox_unconfirmed (stream, published_at);

-- What a relay last saw of a stream: its identity and the last acked message, read back to notice a loss.
CREATE TABLE kit.outbox_stream (
    stream          text     NOT NULL,
    partition       smallint NOT NULL,
    incarnation     text     NOT NULL,
    broker_sequence bigint   NOT NULL,
    message_id      uuid     NOT NULL,
    PRIMARY KEY (stream, partition)
) WITH (fillfactor = 50);

-- Inbox -------------------------------------------------------------------------------------------------------------

-- Every message id a consumer ever took; kept for ever, because a rebuilt stream may bring any of them again.
CREATE TABLE kit.inbox (
    consumer text        NOT NULL,
    id       uuid        NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, id)
);

-- Attempts begun after the first one; committed before the attempt, so that a message that kills its process counts.
CREATE TABLE kit.attempt (
    consumer text        NOT NULL,
    id       uuid        NOT NULL,
    attempts integer     NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, id)
);

-- Dead letters ------------------------------------------------------------------------------------------------------

CREATE TABLE kit.dead_letter (
    id          uuid        PRIMARY KEY,
    consumer    text        NOT NULL,
    message_id  uuid        NOT NULL,
    stream      text        NOT NULL,
    subject     text        NOT NULL,
    headers     text        NOT NULL,
    payload     bytea       NOT NULL,
    reason      text        NOT NULL,
    detail      text        NOT NULL,
    attempts    integer     NOT NULL,
    state       text        NOT NULL DEFAULT 'dead',
    created_at  timestamptz NOT NULL DEFAULT now(),
    settled_at  timestamptz,
    settled_by  text,
    CONSTRAINT dead_letter_state_is_known CHECK (state IN ('dead', 'replaying', 'replayed', 'dropped')),
    CONSTRAINT dead_letter_settled_at_iff_settled CHECK ((state IN ('replayed', 'dropped')) = (settled_at IS NOT NULL))
);
CREATE UNIQUE INDEX dead_letter_one_open_per_message ON kit.dead_letter (consumer, message_id)
    WHERE state IN ('dead', 'replaying');
CREATE INDEX dead_letter_by_age ON kit.dead_letter (created_at DESC, id DESC);

-- Leases ------------------------------------------------------------------------------------------------------------

-- The fence: a guarded write takes it FOR SHARE, a takeover updates it and so waits for the guarded writes.
CREATE TABLE kit.lease_epoch (
    name  text   PRIMARY KEY,
    epoch bigint NOT NULL
) WITH (fillfactor = 50);

-- Holder and expiry live in another row, so that a renewal never waits for holders of the fence.
CREATE TABLE kit.lease (
    name       text        PRIMARY KEY REFERENCES kit.lease_epoch (name),
    holder     text        NOT NULL,
    epoch      bigint      NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Idempotency -------------------------------------------------------------------------------------------------------

CREATE TABLE kit.idempotency (
    principal    text        NOT NULL,
    rpc          text        NOT NULL,
    request_id   text        NOT NULL,
    request_hash bytea       NOT NULL,
    answer       bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, rpc, request_id)
);
CREATE INDEX idempotency_by_age ON kit.idempotency (created_at);
