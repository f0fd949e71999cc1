-- The seeds of a job whose results are over: their figures, and the attempts that have their files.

ALTER TABLE jobs ADD COLUMN tries TEXT;
