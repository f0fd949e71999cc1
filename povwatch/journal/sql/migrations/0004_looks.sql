-- The looks of a clip: each has jobs of its own. The look of the clip's own JSON has the empty name.

ALTER TABLE jobs ADD COLUMN look TEXT NOT NULL DEFAULT '';

-- One job at a time for a look of a clip.
DROP INDEX jobs_one_active;
CREATE UNIQUE INDEX jobs_one_active ON jobs (path, look)
    WHERE state NOT IN ('done', 'failed', 'blocked', 'rejected', 'cancelled');

DROP INDEX jobs_of_path;
CREATE INDEX jobs_of_path ON jobs (path, look, id);
