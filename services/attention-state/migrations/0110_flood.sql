-- An interaction holds at most 5,000 messages. When the live one of an attention is full, later messages go on in a linked
-- attention of the same lineage: the full one stays open with its agent, and stands aside as `flooded`.
ALTER TABLE attention.attention ADD COLUMN flooded boolean NOT NULL DEFAULT false;
DROP INDEX attention.one_open_attention_per_lineage;
CREATE UNIQUE INDEX one_open_attention_per_lineage ON attention.attention (lineage_id)
    WHERE state = 'open' AND NOT flooded;

-- Delivery reports and own mails that came back beyond the bound of an interaction: counted, not appended.
ALTER TABLE attention.interaction ADD COLUMN reports_left_out bigint NOT NULL DEFAULT 0;
