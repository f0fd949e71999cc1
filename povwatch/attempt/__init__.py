"""One attempt at a clip: its private folder with the copies, its artifact, and what follows if it fails."""
