"""config.toml: its keys, how it is read, and what is said of a mistake."""
