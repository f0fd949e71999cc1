"""From a place in the queue to an artifact: turns, working copies, workers."""
