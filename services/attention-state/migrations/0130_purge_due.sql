-- The release before confirms without noting when, and what it confirms while an update rolls on must leave too: the grace
-- time of such rows runs from their end. The index follows the expression that the purge looks for.
CREATE INDEX purge_due ON attention.interaction (coalesce(confirmed_at, ended_at), interaction_id)
    WHERE state = 'ended' AND purged_at IS NULL AND confirmed_version = version;
DROP INDEX attention.purgeable;
