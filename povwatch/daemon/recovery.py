"""What was under way when povwatch ended is settled before any work is taken.

publishing   the promise is kept
checking     the artifact is there and durable: it is checked again; else back to the queue
running      back to the queue, with the crash counted; failed at the third
queued, grace, arriving   go on where they were
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from povwatch import private, retry
from povwatch.command import command
from povwatch.daemon.ends.endings import CLEARED
from povwatch.daemon.runs.workpiece import Workpiece
from povwatch.errors import FinishFailed, JobFailed, PovwatchError
from povwatch.job import Job, JobState
from povwatch.voice import say

if TYPE_CHECKING:
    from povwatch.daemon.ends.endings import Endings
    from povwatch.daemon.ends.finisher import Finisher
    from povwatch.daemon.graces.gates import Gates
    from povwatch.daemon.ledger import Ledger
    from povwatch.publish import Publisher

S = JobState


def recover(
    ledger: Ledger, gates: Gates, endings: Endings, finisher: Finisher, publisher: Publisher, *, crashed: bool
) -> None:
    """Settle every job that has not ended, and clear what belongs to none.

    Args:
        ledger: the jobs.
        gates: take back what was between arrival and claim.
        endings: what becomes of a job after a crash.
        finisher: takes back what was being checked or published.
        publisher: clears the private folders.
        crashed: whether the last daemon had no time to say goodbye.
    """
    counts: Counter[str] = Counter()
    claimed = list(ledger.claimed)
    for job in ledger.in_state(S.PUBLISHING):  # first: nothing of ours is made in outputs/ before the promises are kept
        say("orphaned", job, what="its promise is kept now")
        finisher.publish(job)
        counts["published"] += 1
    for job in ledger.in_state(S.CHECKING):
        counts[_check_again(job, ledger, endings, finisher, crashed=crashed)] += 1
    for job in [job for job in claimed if job.state is S.RUNNING]:
        _requeue(job, ledger, endings)
        counts["to run again"] += 1
    for job in ledger.in_state(S.GRACE, S.QUEUED):
        gates.resume(job)
    kept = [job for job in ledger.in_state(S.QUEUED, S.GRACE) if job not in claimed]
    under_way = [job for job in ledger.claimed if job.run_id is not None]
    with suppress(PovwatchError):  # a link is in its place, or it cannot be written: outputs_watch says so
        publisher.sweep(
            {job.id for job in (*kept, *ledger.claimed)},
            {job.run_id for job in (*under_way, *ledger.journal.kept()) if job.run_id},
        )
    if counts:
        say("recovered", summary=", ".join(f"{count} {what}" for what, count in counts.items()))


def _check_again(job: Job, ledger: Ledger, endings: Endings, finisher: Finisher, *, crashed: bool) -> str:
    piece = Workpiece.from_json(job.artifact or "{}") if job.artifact else None
    if piece is None or (piece.lost and not private.taken(piece.folder)):
        _requeue(job, ledger, endings)
        return "to run again"
    crashes = job.crashes + crashed
    if crashed and crashes >= retry.CRASHES_MAX:
        endings.keep(job, piece, FinishFailed(retry.after_crash(crashes, 0.0).reason, "Look at journalctl -k."))
        return "given up"
    say("orphaned", job, what="its artifact is checked again")
    finisher.check(ledger.set_quietly(job, "orphaned", crashes=crashes), piece)
    return "checked again"


def _requeue(job: Job, ledger: Ledger, endings: Endings) -> None:
    wall = ledger.clock.wall()
    job = replace(job, crashes=job.crashes + 1)
    decision = retry.after_crash(job.crashes, wall)
    if decision.kind is retry.Kind.FAIL:
        again = command("retry", clip=job.path)
        endings.fail(job, JobFailed(decision.reason, f"Look at journalctl -k of that time; then: {again}"))
        return
    to = {
        "state": S.QUEUED,
        "waiting_on": decision.waiting,
        "detail": decision.reason,
        "not_before": decision.at,
        # A crash is counted apart from attempts: it says nothing about the job alone.
        "attempts": max(job.attempts - 1, 0),
    }
    ledger.move(job, "orphaned", said={"state": str(job.state), "what": "it runs again"}, **CLEARED, **to)
