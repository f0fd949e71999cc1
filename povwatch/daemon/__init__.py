"""The daemon: one loop that takes clips in, times their grace, lets workers generate, and publishes."""
