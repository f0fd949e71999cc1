"""Makes a lost journal again from inputs/ and the manifests in outputs/, so that nothing runs twice.

    survey.py    reads inputs/ and outputs/
    outputs.py   published results, and results that were about to be published; recognises a lost journal
    plan.py      decides about each clip; pure
    restore.py   the jobs of the new journal

Some facts were only in the journal and are lost: history, failures, cancellations, holds and gos by command.
"""
