-- Both are changed within milliseconds of their insertion (the offer, the opening). A page that insertions have filled leaves no room
-- for the new version, which then goes to another page with an entry in every index.
ALTER TABLE attention.attention SET (fillfactor = 70);
ALTER TABLE attention.interaction SET (fillfactor = 70);
