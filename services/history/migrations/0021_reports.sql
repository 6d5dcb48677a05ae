-- Reports are made from the public events alone. Every event that tells something a report counts is a fact, keyed by
-- attention and sequence, so that a redelivery adds nothing; what is known of an interaction is computed anew from all of
-- its facts whenever one comes, so that neither order nor batches change a figure.
CREATE TABLE report_event (
    attention_id uuid NOT NULL,
    sequence bigint NOT NULL,
    interaction_id uuid NOT NULL,
    -- Number of hilo.event.v1.EventType.
    kind smallint NOT NULL,
    occurred_at timestamptz NOT NULL,
    campaign_key text NOT NULL,
    -- Agent of the interaction after the event; empty when nobody has it.
    agent_key text NOT NULL,
    -- Who caused it; empty for the system and for customers.
    actor_key text NOT NULL,
    reason text NOT NULL,
    -- Number of hilo.event.v1.InteractionState after the event.
    state smallint NOT NULL,
    attention_closed boolean NOT NULL,
    direction smallint NOT NULL,
    ordinal integer NOT NULL,
    waiting_since timestamptz,
    message_id uuid,
    -- Empty for events without an outbound message.
    delivery_state text NOT NULL,
    out_of_hours boolean NOT NULL,
    PRIMARY KEY (attention_id, sequence),
    CONSTRAINT sequence_is_positive CHECK (sequence > 0)
);
CREATE INDEX report_event_interaction ON report_event (interaction_id, sequence);
-- Messages by their day; 13 is MESSAGE_RECEIVED, 14 MESSAGE_QUEUED, 15 MESSAGE_STATUS_CHANGED.
CREATE INDEX report_event_message ON report_event (occurred_at) WHERE kind IN (13, 14);
CREATE INDEX report_event_status ON report_event (message_id, sequence) WHERE kind = 15;

CREATE TABLE report_interaction (
    interaction_id uuid PRIMARY KEY,
    attention_id uuid NOT NULL,
    ordinal integer NOT NULL,
    direction smallint NOT NULL,
    campaign_key text NOT NULL,
    agent_key text NOT NULL,
    state smallint NOT NULL,
    attention_closed boolean NOT NULL,
    began_at timestamptz NOT NULL,
    first_offered_at timestamptz,
    first_opened_at timestamptz,
    first_response_at timestamptz,
    reassigned_times integer NOT NULL,
    orphaned_times integer NOT NULL,
    out_of_hours boolean NOT NULL,
    CONSTRAINT times_are_not_negative CHECK (reassigned_times >= 0 AND orphaned_times >= 0)
);
CREATE INDEX report_interaction_began ON report_interaction (began_at);
CREATE INDEX report_interaction_campaign ON report_interaction (campaign_key, began_at);
