-- The hooks of each job: which ran, with what end. What is over does not run again.

CREATE TABLE hooks (
    job         INTEGER NOT NULL REFERENCES jobs (id),
    hook        TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('running', 'waiting', 'done', 'skipped', 'failed')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    crashes     INTEGER NOT NULL DEFAULT 0,
    source_hash TEXT,
    spec_hash   TEXT,
    seconds     REAL,
    error       TEXT,
    updated_at  REAL    NOT NULL,
    PRIMARY KEY (job, hook)
) STRICT, WITHOUT ROWID;

-- `once`: has this hook run for these very bytes?
CREATE INDEX hooks_of_source ON hooks (hook, source_hash);
