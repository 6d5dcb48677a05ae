-- Of an interaction that was opened again: the version of the form that was filled in stays in force.
ALTER TABLE attention.form_answer ADD COLUMN kept boolean NOT NULL DEFAULT false;
