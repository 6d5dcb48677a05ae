-- The directory: accounts, campaigns, users, forms. One version for all of it; nothing is ever deleted, because history refers to it.
CREATE SCHEMA directory;

-- One row. Its lock serialises applies; readers that need one consistent directory take it FOR SHARE.
CREATE TABLE directory.state (
    only_row   boolean PRIMARY KEY DEFAULT true,
    version    bigint NOT NULL,
    time_zone  text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT state_has_one_row CHECK (only_row),
    CONSTRAINT version_counts_from_one CHECK (version >= 1)
);
INSERT INTO directory.state (version, time_zone) VALUES (1, 'UTC');

CREATE TABLE directory.form (
    form_key        text PRIMARY KEY,
    current_version integer NOT NULL,
    CONSTRAINT form_key_is_a_key CHECK (form_key ~ '^[a-z0-9-]{1,40}$'),
    CONSTRAINT version_counts_from_one CHECK (current_version >= 1)
);

CREATE TABLE directory.form_version (
    form_key   text NOT NULL REFERENCES directory.form,
    version    integer NOT NULL,
    title      text NOT NULL,
    -- List of {key, label, type, required, choices, minimum, maximum}.
    fields     jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (form_key, version),
    CONSTRAINT version_counts_from_one CHECK (version >= 1),
    CONSTRAINT fields_are_a_list CHECK (jsonb_typeof(fields) = 'array')
);

CREATE TABLE directory.campaign (
    campaign_key           text PRIMARY KEY,
    name                   text NOT NULL,
    description            text NOT NULL,
    channel                text NOT NULL,
    assignment_mode        text NOT NULL,
    accept_timeout_seconds integer NOT NULL,
    overflow_seconds       integer NOT NULL,
    overflow_mode          text NOT NULL,
    overflow_campaign_key  text REFERENCES directory.campaign DEFERRABLE INITIALLY DEFERRED,
    inbound_form_key       text REFERENCES directory.form,
    outbound_form_key      text REFERENCES directory.form,
    signature              text NOT NULL,
    active                 boolean NOT NULL,
    -- In their fixed order; the relation both ways is in campaign_member.
    member_keys            text[] NOT NULL,
    CONSTRAINT campaign_key_is_a_key CHECK (campaign_key ~ '^[a-z0-9-]{1,40}$'),
    CONSTRAINT channel_is_known CHECK (channel IN ('email', 'whatsapp')),
    CONSTRAINT assignment_mode_is_known CHECK (assignment_mode IN ('everyone', 'round_robin', 'least_busy', 'random')),
    CONSTRAINT accept_timeout_is_not_negative CHECK (accept_timeout_seconds >= 0),
    CONSTRAINT overflow_seconds_is_not_negative CHECK (overflow_seconds >= 0),
    CONSTRAINT overflow_mode_is_known CHECK (overflow_mode IN ('none', 'assign_to_all', 'send_to_campaign')),
    CONSTRAINT overflow_target_iff_sent_to_campaign
        CHECK ((overflow_mode = 'send_to_campaign') = (overflow_campaign_key IS NOT NULL)),
    CONSTRAINT overflows_into_another CHECK (overflow_campaign_key <> campaign_key)
);

CREATE TABLE directory.account (
    account_key                    text PRIMARY KEY,
    channel                        text NOT NULL,
    address                        text NOT NULL,
    display_name                   text NOT NULL,
    accept_unauthenticated_replies boolean NOT NULL,
    -- {host, port, security, user, password_secret, mailbox}; the password itself never stands here.
    imap                           jsonb,
    smtp                           jsonb,
    active                         boolean NOT NULL,
    -- Campaign its inbound messages enter; kept when the account is switched off, for mail still on its way.
    campaign_key                   text REFERENCES directory.campaign DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT account_key_is_a_key CHECK (account_key ~ '^[a-z0-9-]{1,40}$'),
    CONSTRAINT channel_is_known CHECK (channel IN ('email', 'whatsapp')),
    CONSTRAINT address_iff_email CHECK ((channel = 'email') = (address <> '')),
    CONSTRAINT active_account_has_a_campaign CHECK (NOT active OR campaign_key IS NOT NULL)
);
CREATE UNIQUE INDEX one_active_account_per_address ON directory.account (lower(address)) WHERE active AND address <> '';

CREATE TABLE directory.app_user (
    user_key          text PRIMARY KEY,
    name              text NOT NULL,
    roles             text[] NOT NULL,
    -- Campaigns a supervisor, reporter or monitor may see, beside those he is a member of.
    campaign_keys     text[] NOT NULL,
    active            boolean NOT NULL,
    email_capacity    integer NOT NULL,
    whatsapp_capacity integer NOT NULL,
    CONSTRAINT user_key_is_a_key CHECK (user_key ~ '^[a-z0-9-]{1,40}$'),
    CONSTRAINT roles_are_known CHECK (roles <@ ARRAY['agent', 'supervisor', 'coordinator', 'reporter', 'monitor']),
    CONSTRAINT capacity_is_positive CHECK (email_capacity >= 1 AND whatsapp_capacity >= 1)
);

-- Written with the campaign's member_keys, for look-ups from the user.
CREATE TABLE directory.campaign_member (
    campaign_key text NOT NULL REFERENCES directory.campaign,
    user_key     text NOT NULL REFERENCES directory.app_user,
    PRIMARY KEY (campaign_key, user_key)
);
CREATE INDEX campaign_of_member ON directory.campaign_member (user_key, campaign_key);

-- The trail of every apply that changed something.
CREATE TABLE directory.applied (
    version     bigint PRIMARY KEY,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    -- `user:<key>` or `service:<name>`.
    applied_by  text NOT NULL,
    -- SHA-256 of the YAML; the text itself may hold passwords and is not kept.
    text_sha256 bytea NOT NULL,
    -- As answered; without passwords.
    differences text[] NOT NULL,
    CONSTRAINT text_sha256_is_a_digest CHECK (octet_length(text_sha256) = 32)
);
