"""A lost journal is made again from inputs/ and the manifests in outputs/, so that nothing is run twice.

    manifests.py, rooms.py   what was published, and what was about to be
    clips.py                 what is in inputs/ now
    plan.py                  what becomes of each: pure
    restore.py               the jobs for the journal
    lost.py                  how a daemon notices that its journal is lost

What no file tells is not known again: history, failures, cancellations, what was held or given a turn by command.
"""
