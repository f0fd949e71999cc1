"""Hooks: the user's programs that run before or after a clip. docs/hooks.md gives the reasons.

plan.py       which hook of a job comes next, and whether it is needed (pure)
stage.py      when each hook runs, and what its end means for the job
run.py        one run of a hook, from its copies to its expected files
program.py    the program itself; no process outlives it
expected.py   whether the expected files exist and are whole

config/hooks.py has the settings, `{video}` and the like.
"""
