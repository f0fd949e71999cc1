-- name: job_by_id^
-- One job.
SELECT * FROM jobs WHERE id = :id;

-- name: latest_of_path^
-- The newest job of a look of a clip.
SELECT * FROM jobs WHERE path = :path AND look = :look ORDER BY id DESC LIMIT 1;

-- name: earlier_job^
-- Whether a clip had a job before this one, of any look.
SELECT 1 FROM jobs WHERE path = :path AND id < :id LIMIT 1;

-- name: latest_done^
-- The newest job of a look of a clip, before another one, that has a result.
SELECT * FROM jobs WHERE path = :path AND look = :look AND state = 'done' AND id < :id ORDER BY id DESC LIMIT 1;

-- name: latest_of_looks
-- The newest job of each look of a clip, the clip's own first.
SELECT * FROM jobs
WHERE path = :path AND id IN (SELECT max(id) FROM jobs WHERE path = :path GROUP BY look)
ORDER BY look;

-- name: active_jobs
-- Every job that has not ended, in the queue's order.
SELECT * FROM jobs
WHERE state NOT IN ('done', 'failed', 'blocked', 'rejected', 'cancelled')
ORDER BY priority DESC, created_at, id;

-- name: all_jobs
-- Every job, newest last.
SELECT * FROM jobs ORDER BY id;

-- name: jobs_in_state
-- Every job in one state, newest last.
SELECT * FROM jobs WHERE state = :state ORDER BY id;

-- name: jobs_since
-- Every job that has not ended, or that was changed since a time, oldest first.
SELECT * FROM jobs
WHERE updated_at >= :since OR state NOT IN ('done', 'failed', 'blocked', 'rejected', 'cancelled')
ORDER BY id;

-- name: known_clips
-- What is known of each look of each clip: its newest job, without the long columns.
SELECT path, look, max(id) AS id, base, state, source_stat, spec_stat FROM jobs GROUP BY path, look;

-- name: kept_jobs
-- The looks' newest jobs that failed after they were generated: what was generated is kept.
SELECT * FROM jobs WHERE state = 'failed' AND artifact IS NOT NULL
    AND id = (SELECT max(id) FROM jobs AS other WHERE other.path = jobs.path AND other.look = jobs.look);

-- name: done_run^
-- The newest published run of the same video and look with the same spec.
SELECT * FROM jobs
WHERE path = :path AND look = :look AND source_hash = :source_hash AND spec_hash = :spec_hash AND engine = :engine AND state = 'done'
ORDER BY id DESC LIMIT 1;

-- name: done_previews
-- The looks of clips whose newest finished run is a preview.
SELECT * FROM jobs AS j
WHERE state = 'done' AND engine = 'preview'
  AND id = (SELECT max(id) FROM jobs WHERE path = j.path AND look = j.look);

-- name: has_done^
-- Whether anything was ever published for a clip.
SELECT 1 FROM jobs WHERE path = :path AND state = 'done' LIMIT 1;

-- name: real_engine^
-- The real engine that ran last on this journal, if one ever did; one named by file said of itself that it is real.
SELECT engine FROM jobs
WHERE engine IN ('cosmos', 'diffusers')
   OR (engine <> 'preview' AND json_valid(artifact) AND json_extract(artifact, '$.capabilities.real'))
ORDER BY id DESC LIMIT 1;

-- name: events_of
-- The history of one job.
SELECT * FROM job_events WHERE job = :job ORDER BY id;

-- name: events_named
-- Every event of some name since a time, oldest first.
SELECT * FROM job_events WHERE event = :event AND at >= :since ORDER BY id;

-- name: latest_events
-- The latest events of some name, newest first.
SELECT * FROM job_events WHERE event = :event ORDER BY id DESC LIMIT :limit;

-- name: progress_of^
-- How far a job is.
SELECT data FROM progress WHERE job = :job;

-- name: bases_in
-- The clips of a folder that go by some bases, and others between: as many as are new, not as many as there are.
SELECT path, base FROM bases WHERE folder = :folder AND base BETWEEN :first AND :last;

-- name: last_job^
-- The highest number that a job ever had.
SELECT coalesce(max(seq), 0) AS id FROM sqlite_sequence WHERE name = 'jobs';

-- name: fact^
-- One thing that the daemon says of itself.
SELECT value FROM facts WHERE name = :name;

-- name: state_counts
-- How many jobs there are in each state.
SELECT state, count(*) AS jobs FROM jobs GROUP BY state;

-- name: wait_counts
-- How many jobs that have not ended wait on each reason.
SELECT waiting_on, count(*) AS jobs FROM jobs
WHERE state NOT IN ('done', 'failed', 'blocked', 'rejected', 'cancelled') AND waiting_on IS NOT NULL
GROUP BY waiting_on;

-- name: hooks_of
-- The hooks of one job that were begun, in the order of their beginnings as far as that is known.
SELECT * FROM hooks WHERE job = :job ORDER BY updated_at, hook;

-- name: hooks_interrupted
-- Those that ran when povwatch ended.
SELECT * FROM hooks WHERE state = 'running' ORDER BY job;

-- name: hook_ran_for^
-- Whether a hook is done for a clip with these bytes, whatever its name.
SELECT 1 FROM hooks WHERE hook = :hook AND source_hash = :source_hash AND state IN ('done', 'skipped') LIMIT 1;

-- name: hook_ran_for_look^
-- Whether a hook is done for another look of a clip with these bytes.
SELECT 1 FROM hooks JOIN jobs ON jobs.id = hooks.job
WHERE hooks.hook = :hook AND hooks.source_hash = :source_hash AND hooks.state = 'done'
    AND jobs.path = :path AND jobs.look <> :look
LIMIT 1;

-- name: hook_last_of^
-- The bytes' hash of the clip of this name that a hook was last done for.
SELECT hooks.source_hash FROM hooks JOIN jobs ON jobs.id = hooks.job
WHERE hooks.hook = :hook AND jobs.path = :path AND hooks.state IN ('done', 'skipped')
ORDER BY hooks.job DESC LIMIT 1;
