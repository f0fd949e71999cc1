-- The journal's first shape. Times are seconds since the epoch; paths are bytes, relative to inputs/.

CREATE TABLE jobs (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    path           BLOB    NOT NULL,
    base           BLOB    NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN (
        'arriving', 'grace', 'queued', 'running', 'checking', 'publishing',
        'done', 'failed', 'blocked', 'rejected', 'cancelled')),
    waiting_on     TEXT,
    detail         TEXT    NOT NULL DEFAULT '',
    run_id         TEXT,
    attempts       INTEGER NOT NULL DEFAULT 0,
    crashes        INTEGER NOT NULL DEFAULT 0,
    priority       INTEGER NOT NULL DEFAULT 0,
    hold           INTEGER NOT NULL DEFAULT 0,
    go             INTEGER NOT NULL DEFAULT 0,
    force          INTEGER NOT NULL DEFAULT 0,
    spec_hash      TEXT,
    spec_json      TEXT,
    spec_digest    TEXT,
    spec_stat      BLOB,
    source_hash    TEXT,
    source_stat    BLOB,
    source_info    TEXT,
    grace_left     REAL,
    grace_saved_at REAL,
    invalid_since  REAL,
    not_before     REAL    NOT NULL DEFAULT 0,
    engine         TEXT,
    artifact       TEXT,
    promise        TEXT,
    output         TEXT,
    error          TEXT,
    created_at     REAL    NOT NULL,
    updated_at     REAL    NOT NULL
) STRICT;

-- One job at a time for a clip.
CREATE UNIQUE INDEX jobs_one_active ON jobs (path)
    WHERE state NOT IN ('done', 'failed', 'blocked', 'rejected', 'cancelled');

CREATE INDEX jobs_of_path ON jobs (path, id);

-- The whole history: every transition, and what was noted between.
CREATE TABLE job_events (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    job    INTEGER NOT NULL REFERENCES jobs (id),
    at     REAL    NOT NULL,
    event  TEXT    NOT NULL,
    was    TEXT,
    state  TEXT    NOT NULL,
    run_id TEXT,
    data   TEXT    NOT NULL DEFAULT '{}'
) STRICT;

CREATE INDEX job_events_of_job ON job_events (job, id);

-- How far a running job is. Apart from jobs, as it changes every few seconds and decides nothing.
CREATE TABLE progress (
    job  INTEGER PRIMARY KEY REFERENCES jobs (id),
    at   REAL NOT NULL,
    data TEXT NOT NULL
) STRICT;

-- Which clip of a folder goes by which base (see layout.py): first come, first served.
CREATE TABLE bases (
    folder BLOB NOT NULL,
    base   BLOB NOT NULL,
    path   BLOB NOT NULL UNIQUE,
    PRIMARY KEY (folder, base)
) STRICT, WITHOUT ROWID;

-- What the daemon says of itself, for the commands that only read.
CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
