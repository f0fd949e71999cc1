"""config.toml: its keys, how it is read, and the error texts."""
