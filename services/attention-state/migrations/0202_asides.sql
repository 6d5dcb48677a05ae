-- What goes to a customer beside messages: reactions of ours and read marks. They are no messages and wait for none, so they have an
-- order of sends of their own per attention.
CREATE TABLE attention.aside_order (
    attention_id uuid PRIMARY KEY REFERENCES attention.attention,
    -- Number of its asides: the sequence of the last one.
    sends        bigint NOT NULL
);

CREATE TABLE attention.aside (
    -- Id of the send, by which reports find it.
    send_id    uuid PRIMARY KEY,
    -- The customer's message it is about.
    message_id uuid NOT NULL REFERENCES attention.message,
    number     bigint NOT NULL,
    kind       text NOT NULL,
    -- Of a read mark: whether it also showed that an answer is being written.
    typing     boolean NOT NULL DEFAULT false,
    sent_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT kind_is_known CHECK (kind IN ('reaction', 'read_mark')),
    CONSTRAINT typing_only_of_a_read_mark CHECK (NOT typing OR kind = 'read_mark')
);
CREATE INDEX aside_about ON attention.aside (message_id, sent_at);
