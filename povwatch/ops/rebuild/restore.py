"""Turns a plan into the jobs of the new journal."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from povwatch.attempt.attempt import Attempt
from povwatch.core import layout
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.looks import Owner
from povwatch.core.quality import Tries, Try
from povwatch.journal.anew import Restored
from povwatch.media.info import Checked, Scored, VideoInfo
from povwatch.ops.rebuild.plan import Fate
from povwatch.results.manifest import SOURCE_FIELDS
from povwatch.spec.holding import REBUILT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.ops.rebuild.outputs import Promise, Result
    from povwatch.ops.rebuild.plan import Clip, Plan

CHECKED = frozenset(field.name for field in dataclasses.fields(Checked))
"""The fields of a result's check, which its manifest repeats."""


def jobs(plan: Plan, clips: Sequence[Clip], now: float) -> list[Restored]:
    """The plan as rows of the journal. `now` is in seconds since the epoch."""
    there = {clip.key: clip for clip in clips}
    newest = {result.key: number for number, result in plan.results}
    found = [
        _done(number, result, there.get(result.key) if newest[result.key] == number else None, now)
        for number, result in plan.results
    ]
    found += [_promised(promise, there.get(promise.result.key), now) for promise in plan.promises]
    last = max((restored.job.id for restored in found), default=0)
    held = [verdict for verdict in plan.verdicts if verdict.fate is Fate.HELD]
    for number, verdict in enumerate(held, last + 1):
        job = Job(
            id=number,
            path=verdict.path,
            base=plan.bases[verdict.path],
            look=verdict.look,
            state=JobState.ARRIVING,
            waiting_on=Waiting.SETTLING,
            hold=True,
            source_stat=there[Owner(verdict.path, verdict.look)].signature,
            created_at=now,
            updated_at=now,
        )
        found.append(Restored(job, ((now, "seen", {}), (now, REBUILT, {"why": verdict.why}))))
    return found


def _done(number: int, result: Result, clip: Clip | None, now: float) -> Restored:
    """A job that is done. `clip` is set for the newest result of a clip in inputs/."""
    detail = f"found again by povwatch rebuild{'; ' + result.problem if result.problem else ''}"
    job = _job(number, result, clip, state=JobState.DONE, detail=detail)
    fields = {"manifest": layout.shown(result.file)} | ({"problem": result.problem} if result.problem else {})
    return Restored(job, ((result.started, "started", {}), (now, REBUILT, fields)))


def _promised(promise: Promise, clip: Clip | None, now: float) -> Restored:
    """A job whose promise has to be kept, as after a crash between the promise and its keeping."""
    job = _job(promise.result.job, promise.result, clip, state=JobState.PUBLISHING, promise=promise.sealed.to_json())
    output = promise.result.text["output"]
    numbers = Checked.from_json({key: output[key] for key in CHECKED if key in output})
    checked = {"numbers": numbers.to_json()}
    return Restored(job, ((promise.result.started, "started", {}), (now, "checked", checked), (now, REBUILT, {})))


def _job(number: int, result: Result, clip: Clip | None, **to: Any) -> Job:  # noqa: ANN401 - a job's own fields
    same = clip is not None and clip.source_hash == result.source_hash
    unedited = clip is not None and clip.spec_hash == result.spec_hash
    source = result.text["source"]
    return Job(
        id=number,
        path=result.path,
        base=result.base,
        look=result.look,
        run_id=result.run_id,
        attempts=result.attempts,
        crashes=result.crashes,
        spec_hash=result.spec_hash,
        spec_json=json.dumps(result.text.get("spec", {})),
        # Without these the clip or its JSON is read again; if it is the same, it is done then.
        spec_stat=clip.spec_stat if clip is not None and unedited else None,
        source_hash=result.source_hash,
        source_stat=clip.signature if clip is not None and same else None,
        source_info=json.dumps(
            VideoInfo(
                complete=True, damage=result.text.get("damaged"), **{key: source.get(key) for key in SOURCE_FIELDS}
            ).to_json()
        ),
        engine=result.engine,
        artifact=_attempt(result).to_json(),
        output=layout.shown(result.output.target),
        tries=_tries(result),
        created_at=result.started,
        updated_at=result.finished,
        **to,
    )


def _attempt(result: Result) -> Attempt:
    """The run, as far as the manifest has it."""
    text = result.text
    model: Mapping[str, Any] = text.get("model") or {}
    capabilities = {
        **text["engine"],
        "files": model.get("files", {}),
        "revisions": model.get("revisions", {}),
        "checkpoints": model.get("checkpoints", []),
        "libraries": text.get("libraries", {}),
    }
    artifact = {**text.get("generated", {}), "path": "", "seconds": text.get("seconds_of_generate", {})}
    return Attempt(
        folder="",
        info={**text["source"], "damage": text.get("damaged")},
        spec=text.get("spec", {}),
        artifact=artifact,
        capabilities=capabilities,
        seconds=text.get("seconds", {}),
        gpu=text.get("gpu", {}),
        scored=_scored(text),
    )


def _scored(text: Mapping[str, Any]) -> dict[str, Any]:
    """The scores, as an attempt has them."""
    scores, about = text.get("scores"), text.get("scores_about")
    if not isinstance(scores, dict) or not isinstance(about, dict):
        return {}
    missing, details = about.get("missing") or {}, about.get("details") or {}
    return Scored(scores, missing, details, about.get("frames") or 0).to_json()


def _tries(result: Result) -> str | None:
    """The figures of the seeds that were tried; None if none was judged."""
    judged = result.text.get("quality")
    if not isinstance(judged, dict):
        return None
    over = [
        Try(
            seed=one["seed"],
            run_id=one["run_id"],
            spec_hash=result.spec_hash,
            source_hash=result.source_hash,
            scores=one.get("scores") or {},
            missing=one.get("missing") or {},
            kept="file" in one,
        )
        for one in judged.get("tries") or []
        if isinstance(one, dict) and "seed" in one and "run_id" in one
    ]
    return Tries(tuple(over), judged.get("ended") or "", judged.get("passed"), judged.get("verdict") or "").to_json()
