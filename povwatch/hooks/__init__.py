"""Hooks: the user's programs that run before or after a clip. docs/hooks.md gives the reasons.

plan.py          which hook of a job comes next, and whether it is needed (pure)
stage.py         when each hook runs
errand.py        one run of a hook, from its copies to its expected files
run.py           the program itself; no process outlives it
expected.py      whether the expected files exist and are whole
inputs_look.py   what a hook changed in inputs/
outcomes.py      what the end of a run means for its job
records.py       the journal's records of hooks

config/hooks.py has the settings, config/placeholders.py `{video}` and the like.
"""
