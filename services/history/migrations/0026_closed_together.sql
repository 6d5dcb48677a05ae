-- An interaction counts as closed when its attention was closed together with its own last end. Late facts of an ended interaction
-- used to set what they knew of the attention instead, which another interaction may have closed or opened since.
-- 2 is ATTENTION_CLOSED, 8 INTERACTION_ENDED, 9 INTERACTION_REOPENED, 18 INTERACTION_STARTED.
UPDATE report_interaction AS i SET attention_closed = right_one.closed
FROM (
    SELECT r.interaction_id, coalesce((
        SELECT e.kind = 2 FROM report_event e
        WHERE e.interaction_id = r.interaction_id AND e.kind IN (2, 8, 9, 18) ORDER BY e.sequence DESC LIMIT 1
    ), false) AS closed
    FROM report_interaction r
) AS right_one
WHERE i.interaction_id = right_one.interaction_id AND i.attention_closed <> right_one.closed;
