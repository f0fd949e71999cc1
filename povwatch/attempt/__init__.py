"""One attempt at a clip: its private folder, the copies in it, what it made, and what follows where it failed."""
