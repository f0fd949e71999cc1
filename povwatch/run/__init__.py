"""State `running`: a worker has the job."""
