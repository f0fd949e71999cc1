"""Turns a plan into the jobs of the new journal."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from povwatch.core import layout
from povwatch.core.job import Job, JobState, Waiting
from povwatch.journal.anew import Restored
from povwatch.media.info import Checked, VideoInfo
from povwatch.ops.rebuild.plan import Fate
from povwatch.results.manifest import SOURCE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.ops.rebuild.manifests import Made
    from povwatch.ops.rebuild.plan import Clip, Plan
    from povwatch.ops.rebuild.rooms import Room

EVENT = "rebuilt"
"""The event in the history of each restored job."""

CHECKED = frozenset(field.name for field in dataclasses.fields(Checked))
"""The fields of a result's check, which its manifest repeats."""


def jobs(plan: Plan, clips: Sequence[Clip], now: float) -> list[Restored]:
    """The plan as rows of the journal. `now` is in seconds since the epoch."""
    there = {clip.path: clip for clip in clips}
    newest = {made.path: number for number, made in plan.made}
    found = [
        _done(number, made, there.get(made.path) if newest[made.path] == number else None, now)
        for number, made in plan.made
    ]
    found += [_promised(room, there.get(room.made.path), now) for room in plan.rooms]
    last = max((restored.job.id for restored in found), default=0)
    held = [verdict for verdict in plan.verdicts if verdict.fate is Fate.HELD]
    for number, verdict in enumerate(held, last + 1):
        job = Job(
            id=number,
            path=verdict.path,
            base=plan.bases[verdict.path],
            state=JobState.ARRIVING,
            waiting_on=Waiting.SETTLING,
            hold=True,
            source_stat=there[verdict.path].signature,
            created_at=now,
            updated_at=now,
        )
        found.append(Restored(job, ((now, "seen", {}), (now, EVENT, {"why": verdict.why}))))
    return found


def _done(number: int, made: Made, clip: Clip | None, now: float) -> Restored:
    """A job that is done. `clip` is set for the newest result of a clip in inputs/."""
    detail = f"found again by povwatch rebuild{'; ' + made.problem if made.problem else ''}"
    job = _job(number, made, clip, state=JobState.DONE, detail=detail)
    said = {"manifest": layout.shown(made.file)} | ({"problem": made.problem} if made.problem else {})
    return Restored(job, ((made.started, "started", {}), (now, EVENT, said)))


def _promised(room: Room, clip: Clip | None, now: float) -> Restored:
    """A job whose promise has to be kept, as after a crash between the promise and its keeping."""
    job = _job(room.made.job, room.made, clip, state=JobState.PUBLISHING, promise=room.sealed.to_json())
    output = room.made.text["output"]
    numbers = Checked.from_json({key: output[key] for key in CHECKED if key in output})
    checked = {"numbers": numbers.to_json()}
    return Restored(job, ((room.made.started, "started", {}), (now, "checked", checked), (now, EVENT, {})))


def _job(number: int, made: Made, clip: Clip | None, **to: Any) -> Job:  # noqa: ANN401 - a job's own fields
    same = clip is not None and clip.source_hash == made.source_hash
    unedited = clip is not None and clip.spec_hash == made.spec_hash
    source = made.text["source"]
    return Job(
        id=number,
        path=made.path,
        base=made.base,
        run_id=made.run_id,
        attempts=made.attempts,
        crashes=made.crashes,
        spec_hash=made.spec_hash,
        spec_json=json.dumps(made.text.get("spec", {})),
        # Without these the clip or its JSON is read again; if it is the same, it is done then.
        spec_stat=clip.spec_stat if clip is not None and unedited else None,
        source_hash=made.source_hash,
        source_stat=clip.signature if clip is not None and same else None,
        source_info=json.dumps(
            VideoInfo(
                complete=True, damage=made.text.get("damaged"), **{key: source.get(key) for key in SOURCE_FIELDS}
            ).to_json()
        ),
        engine=made.engine,
        artifact=json.dumps(_workpiece(made)),
        output=layout.shown(made.output.target),
        created_at=made.started,
        updated_at=made.finished,
        **to,
    )


def _workpiece(made: Made) -> dict[str, Any]:
    """The journal's fields of the run, as far as the manifest has them; see attempt/attempt.py."""
    text = made.text
    model: Mapping[str, Any] = text.get("model") or {}
    capabilities = {
        **text["engine"],
        "files": model.get("files", {}),
        "revisions": model.get("revisions", {}),
        "checkpoints": model.get("checkpoints", []),
        "libraries": text.get("libraries", {}),
    }
    artifact = {**text.get("generated", {}), "path": "", "seconds": text.get("seconds_of_generate", {})}
    return {
        "folder": "",
        "info": {**text["source"], "damage": text.get("damaged")},
        "spec": text.get("spec", {}),
        "artifact": artifact,
        "capabilities": capabilities,
        "seconds": text.get("seconds", {}),
        "gpu": text.get("gpu", {}),
    }
