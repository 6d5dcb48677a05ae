-- What a campaign asks of whoever takes its items, and which of them goes first, beyond its assignment mode; what agents master.
-- Null is the default of each: a previous release that still runs beside this one writes rows without these columns.
ALTER TABLE directory.campaign
    -- Lists of {skill, level} and {after_seconds, skill, level}.
    ADD COLUMN required_skills         jsonb,
    ADD COLUMN relaxation              jsonb,
    ADD COLUMN ageing_seconds          integer,
    ADD COLUMN vip_bonus               integer,
    ADD COLUMN item_weight             integer,
    ADD COLUMN preferred_agent_seconds integer,
    DROP CONSTRAINT assignment_mode_is_known,
    ADD CONSTRAINT assignment_mode_is_known
        CHECK (assignment_mode IN ('everyone', 'round_robin', 'least_busy', 'random', 'longest_idle')),
    ADD CONSTRAINT required_skills_are_a_list CHECK (jsonb_typeof(required_skills) = 'array'),
    ADD CONSTRAINT relaxation_is_a_list CHECK (jsonb_typeof(relaxation) = 'array'),
    ADD CONSTRAINT ageing_is_not_negative CHECK (ageing_seconds >= 0),
    ADD CONSTRAINT vip_bonus_is_not_negative CHECK (vip_bonus >= 0),
    ADD CONSTRAINT item_weight_is_positive CHECK (item_weight >= 1),
    ADD CONSTRAINT preferred_agent_is_not_negative CHECK (preferred_agent_seconds >= 0);
ALTER TABLE directory.app_user
    -- List of {skill, level}.
    ADD COLUMN skills jsonb,
    ADD CONSTRAINT skills_are_a_list CHECK (jsonb_typeof(skills) = 'array');
