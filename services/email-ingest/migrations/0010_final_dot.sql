-- Which attempt still holds its final dot back. An attempt that is cut off while its number stands here was certainly not sent
-- and is simply made again; begun by the release before, which does not know the column, it has another number and stays doubtful.
ALTER TABLE mail.send ADD COLUMN dot_held_attempt integer;
