"""Hooks: programs of the user's that run before or after a clip. Why it is done so: docs/hooks.md.

settings.py      [[hooks]] in config.toml
placeholders.py  {video} and the like (pure)
plan.py          which hook of a job comes next, and whether it is needed (pure)
record.py        what the journal remembers of one (pure)
run.py           runs one, and leaves no process behind
expected.py      are the files there that it is for

hooks/ drives all that.
"""
