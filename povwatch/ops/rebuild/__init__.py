"""Makes a lost journal again from inputs/ and the manifests in outputs/, so that nothing runs twice.

    manifests.py, rooms.py   published results, and results that were about to be published
    clips.py                 the clips in inputs/
    plan.py                  decides about each clip; pure
    restore.py               the jobs of the new journal
    lost.py                  recognises a lost journal at a daemon's start

Some facts were only in the journal and are lost: history, failures, cancellations, holds and gos by command.
"""
