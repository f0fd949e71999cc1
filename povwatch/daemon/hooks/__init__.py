"""Hooks on a clip's way.

stage.py        when each runs
errand.py       one run
outcomes.py     what becomes of its job
records.py      the journal's memory of them
inputs_look.py  what a hook did in inputs/
"""
