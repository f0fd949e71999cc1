"""The daemon: one loop, which takes clips in, times their grace, has them generated and publishes."""
