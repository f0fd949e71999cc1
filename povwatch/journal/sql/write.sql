-- name: bring*!
-- Clips that were seen, for the statements that follow.
INSERT INTO brought (id, path, folder, base, has_base, source_stat)
VALUES (:id, :path, :folder, :base, :has_base, :source_stat);

-- name: take_bases!
-- Takes a base for each clip that has none; in the table's own order, which is the quickest.
INSERT INTO bases (folder, base, path)
SELECT folder, base, path FROM brought WHERE NOT has_base ORDER BY folder, base;

-- name: add_jobs!
INSERT INTO jobs (id, path, base, look, state, force, waiting_on, source_stat, created_at, updated_at)
SELECT id, path, base, :look, 'arriving', :force, 'settling', source_stat, :now, :now FROM brought ORDER BY id;

-- name: add_seen!
-- The first event of each.
INSERT INTO job_events (job, at, event, state) SELECT id, :now, 'seen', 'arriving' FROM brought ORDER BY id;

-- name: brought!
-- They are all in.
DELETE FROM brought;

-- name: advance!
-- Compare and set: changes exactly one row, or none if the job is not what the caller believes it to be.
UPDATE jobs SET
    state = :state, waiting_on = :waiting_on, detail = :detail, run_id = :run_id,
    attempts = :attempts, crashes = :crashes, priority = :priority, hold = :hold, go = :go, force = :force,
    damaged = :damaged,
    spec_hash = :spec_hash, spec_json = :spec_json, spec_digest = :spec_digest, spec_stat = :spec_stat,
    source_hash = :source_hash, source_stat = :source_stat, source_info = :source_info,
    grace_left = :grace_left, grace_saved_at = :grace_saved_at, invalid_since = :invalid_since,
    not_before = :not_before, engine = :engine, artifact = :artifact, promise = :promise,
    output = :output, error = :error, tries = :tries, updated_at = :updated_at
WHERE id = :id AND state = :was AND run_id IS :was_run;

-- name: add_event!
-- What happened, beside the row that it changed.
INSERT INTO job_events (job, at, event, was, state, run_id, data)
VALUES (:job, :at, :event, :was, :state, :run_id, :data);

-- name: save_grace*!
-- The grace that is left to some jobs.
UPDATE jobs SET grace_left = :grace_left, grace_saved_at = :now WHERE id = :id AND state = 'grace';

-- name: save_spec_stat!
-- A JSON was looked at and means nothing new.
UPDATE jobs SET spec_stat = :spec_stat WHERE id = :id;

-- name: save_source_stat!
-- A clip was looked at and holds the same bytes.
UPDATE jobs SET source_stat = :source_stat WHERE id = :id;

-- name: set_progress!
INSERT INTO progress (job, at, data) VALUES (:job, :at, :data)
ON CONFLICT (job) DO UPDATE SET at = excluded.at, data = excluded.data;

-- name: drop_progress!
DELETE FROM progress WHERE job = :job;

-- name: drop_base!
-- Gives the base of a clip back that is gone and never came out.
DELETE FROM bases WHERE path = :path;

-- name: set_fact!
INSERT INTO facts (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: restore_job!
-- A job as povwatch rebuild found it again.
INSERT INTO jobs (
    id, path, base, look, state, waiting_on, detail, run_id, attempts, crashes, priority, hold, go, force,
    damaged, spec_hash, spec_json, spec_digest, spec_stat, source_hash, source_stat, source_info,
    grace_left, grace_saved_at, invalid_since, not_before, engine, artifact, promise, output, error,
    created_at, updated_at
) VALUES (
    :id, :path, :base, :look, :state, :waiting_on, :detail, :run_id, :attempts, :crashes, :priority, :hold, :go, :force,
    :damaged, :spec_hash, :spec_json, :spec_digest, :spec_stat, :source_hash, :source_stat, :source_info,
    :grace_left, :grace_saved_at, :invalid_since, :not_before, :engine, :artifact, :promise, :output, :error,
    :created_at, :updated_at
);

-- name: restore_base!
INSERT INTO bases (folder, base, path) VALUES (:folder, :base, :path);

-- name: set_hook!
-- How a hook of a job stands.
INSERT INTO hooks (job, hook, state, attempts, crashes, source_hash, spec_hash, seconds, error, updated_at)
VALUES (:job, :hook, :state, :attempts, :crashes, :source_hash, :spec_hash, :seconds, :error, :updated_at)
ON CONFLICT (job, hook) DO UPDATE SET
    state = excluded.state, attempts = excluded.attempts, crashes = excluded.crashes,
    source_hash = excluded.source_hash, spec_hash = excluded.spec_hash, seconds = excluded.seconds,
    error = excluded.error, updated_at = excluded.updated_at;
