-- What routing needs from the one writer: partitions with their fence, groups, agents' state and load, decisions.
CREATE SCHEMA assignment;

-- The fence. ApplyOffers takes the row FOR SHARE; a new holder and a new configuration update it, and so wait for batches
-- that are being committed. The lease's expiry is another row, so that renewals never wait.
CREATE TABLE assignment.partition (
    partition      integer PRIMARY KEY,
    -- Raised at every change of holder.
    epoch          bigint NOT NULL DEFAULT 0,
    -- Directory version that last changed a group of this partition.
    config_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT partition_is_one_of_64 CHECK (partition BETWEEN 0 AND 63)
);
CREATE TABLE assignment.partition_lease (
    partition  integer PRIMARY KEY REFERENCES assignment.partition,
    holder     text,
    expires_at timestamptz NOT NULL,
    CONSTRAINT holder_is_short CHECK (char_length(holder) BETWEEN 1 AND 100)
);
INSERT INTO assignment.partition (partition) SELECT generate_series(0, 63);
INSERT INTO assignment.partition_lease (partition, holder, expires_at) SELECT generate_series(0, 63), NULL, now();

-- Routing replicas that asked lately; their number makes the fair share.
CREATE TABLE assignment.replica (
    replica_id text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- Connected components of campaigns, computed by every apply.
CREATE TABLE assignment.routing_group (
    -- Smallest campaign key of the group.
    group_key      text PRIMARY KEY,
    partition      integer NOT NULL REFERENCES assignment.partition,
    config_version bigint NOT NULL,
    -- Digest of what routing decides by.
    fingerprint    bytea NOT NULL
);
CREATE TABLE assignment.group_campaign (
    campaign_key text PRIMARY KEY REFERENCES directory.campaign,
    group_key    text NOT NULL REFERENCES assignment.routing_group,
    partition    integer NOT NULL REFERENCES assignment.partition
);
CREATE INDEX campaigns_of_partition ON assignment.group_campaign (partition, campaign_key);

-- Load = open items plus outstanding offers, changed in the transaction that changes the item.
CREATE TABLE assignment.agent_load (
    agent_key       text NOT NULL REFERENCES directory.app_user,
    channel         text NOT NULL,
    load            integer NOT NULL DEFAULT 0,
    capacity        integer NOT NULL,
    last_offered_at timestamptz,
    PRIMARY KEY (agent_key, channel),
    CONSTRAINT channel_is_known CHECK (channel IN ('email', 'whatsapp')),
    CONSTRAINT load_is_not_negative CHECK (load >= 0),
    CONSTRAINT capacity_is_positive CHECK (capacity >= 1)
) WITH (fillfactor = 50);

CREATE TABLE assignment.agent_state (
    agent_key    text PRIMARY KEY REFERENCES directory.app_user,
    paused       boolean NOT NULL DEFAULT false,
    -- Instant of the newest presence report; null before the first.
    last_seen_at timestamptz,
    -- Null while present or unknown.
    absent_since timestamptz,
    -- Raised by every change of this row, of the user's activity and capacity; newer wins.
    version      bigint NOT NULL DEFAULT 1
) WITH (fillfactor = 80);

-- Round robin: the member offered last, per campaign; survives restarts.
CREATE TABLE assignment.rotation (
    campaign_key text PRIMARY KEY REFERENCES directory.campaign,
    pointer      text NOT NULL
) WITH (fillfactor = 50);

-- Why each offer was decided; insert-only, dropped after 30 days.
CREATE TABLE assignment.decision (
    interaction_id uuid NOT NULL,
    decided_at     timestamptz NOT NULL,
    offer_id       uuid,
    -- hilo.internal.v1.DecisionRecord.
    record         bytea NOT NULL
);
CREATE INDEX decision_of_interaction ON assignment.decision (interaction_id, decided_at DESC);
CREATE INDEX decision_by_age ON assignment.decision USING brin (decided_at);
