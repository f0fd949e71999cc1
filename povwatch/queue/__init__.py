"""State `queued`: which job a worker gets next, and when."""
