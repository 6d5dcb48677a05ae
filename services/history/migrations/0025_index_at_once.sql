-- A GIN index that collects new entries in a pending list has one unlucky writer merge 4 MiB of them: with the words of some thousand
-- threads that took 2.3 to more than 5 seconds, so the statement timeout broke it off; and every search reads the list too. Each writer
-- pays for its own entries instead. (https://www.postgresql.org/docs/current/gin-implementation.html#GIN-FAST-UPDATE)
-- What is pending now is merged by the next vacuum.
ALTER INDEX thread_words_word SET (fastupdate = off);
ALTER INDEX thread_customer_part SET (fastupdate = off);
ALTER INDEX thread_subject_part SET (fastupdate = off);
ALTER INDEX thread_tag SET (fastupdate = off);
ALTER INDEX thread_form_entry SET (fastupdate = off);
ALTER INDEX thread_form_value SET (fastupdate = off);
