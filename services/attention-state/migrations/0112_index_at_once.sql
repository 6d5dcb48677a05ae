-- Whoever writes a contact pays for its own index entries: a pending list would have one unlucky intake merge 4 MiB of them.
-- (https://www.postgresql.org/docs/current/gin-implementation.html#GIN-FAST-UPDATE)
ALTER INDEX contact.contact_by_name_part SET (fastupdate = off);
ALTER INDEX contact.identity_by_value_part SET (fastupdate = off);
