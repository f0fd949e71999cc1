"""What every stage builds on: the job, its states, layout, errors, log sentences. It imports no stage."""
