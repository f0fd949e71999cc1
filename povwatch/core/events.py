"""Every sentence that povwatch logs, by event name.

The names are fixed: people grep for them, and `journalctl EVENT=` matches them. Each event is one line; a line about a
job begins with its clip. The journal keeps an event that is about a job.
`{povwatch go}` in a sentence becomes that command for the clip, ready to paste.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from povwatch.core.job import Job

INFO, WARNING, ERROR, DEBUG = logging.INFO, logging.WARNING, logging.ERROR, logging.DEBUG

SENTENCES: dict[str, tuple[int, str]] = {
    # -- the daemon
    "daemon-started": (INFO, "povwatch {version} watches {inputs}, results go to {outputs} (pid {pid})"),
    "daemon-stopping": (INFO, "stopping: {why}"),
    "daemon-stopped": (INFO, "stopped; {left} clip(s) go on at the next start"),
    "recovered": (INFO, "after the last stop: {summary}"),
    "engine-chosen": (INFO, "engine: {engine}. {why}"),
    "zone-unusable": (WARNING, "{problem}"),
    "guardrails-off": (
        WARNING,
        "guardrails are off (engine.guardrails = false): no prompt and no video is checked, and the model's licence no longer holds. Every manifest says so",
    ),
    "keep-without-hook": (
        WARNING,
        "spec.keep names {keep}, and no hook runs before a clip: a clip fails unless somebody has put that file into its folder in outputs/",
    ),
    "template-controls": (
        WARNING,
        "the template {template} asks for {asked}, and engine.controls has {controls} only: its JSONs are refused. Add what is missing to engine.controls, or take another template",
    ),
    "engine-loading": (INFO, "the {engine} engine is being loaded"),
    "engine-load-progress": (INFO, "loading the {engine} engine: {stage}"),
    "engine-ready": (INFO, "the {engine} engine is ready after {took}{where}"),
    "engine-computes": (INFO, "the {engine} engine computes attention with {attention}; its steps are {compiled}"),
    "engine-note": (WARNING, "the {engine} engine: {note}"),
    "engine-unavailable": (
        ERROR,
        "the {engine} engine is not available: {problem} Clips are taken in and wait. Next try {at}",
    ),
    "worker-unavailable": (
        ERROR,
        "{label} is not available: {problem} The others go on. Next try {at}",
    ),
    "load-waits": (INFO, "{label} waits. {problem}"),
    "worker-added": (INFO, "another GPU can be used: {label} is started"),
    "workers-fewer": (
        WARNING,
        "engine.workers asks for {wanted}, and there are GPUs for {many}: another is started when a GPU comes",
    ),
    "devices-missing": (
        WARNING,
        "engine.devices names {missing}, which NVML does not see: a worker is started there once it does",
    ),
    "gpu-room": (INFO, "there is room on the GPU now: the {engine} engine is being loaded{where}"),
    "gpu-note": (WARNING, "the GPU {gpu} reported Xid {code}: {what}"),
    "gpu-fault": (ERROR, "the GPU {gpu} reported Xid {code}: {what}. {answer}"),
    "gpu-away": (ERROR, "{problem} No clip is started on it; clips are taken in and wait"),
    "gpu-back": (INFO, "the GPUs answer again: going on"),
    "prompts-unchecked": (
        WARNING,
        "prompts are not checked before their job, as they should be: {problem} The engine's guardrail checks them as before",
    ),
    "engine-output": (DEBUG, "{line}"),
    "engine-last-words": (WARNING, "the engine printed: {line}"),
    "unforeseen": (ERROR, "povwatch itself failed {where}: {problem}. Please report it, with the traceback"),
    "worker-started": (DEBUG, "a worker was started (pid {pid})"),
    "worker-gone": (DEBUG, "the worker with pid {pid} has ended ({returncode})"),
    "worker-replaced": (WARNING, "the worker (pid {pid}) is replaced by a fresh one: {why}"),
    "worker-unkillable": (
        ERROR,
        "the worker (pid {pid}) was killed and does not go away: it hangs in the kernel, reboot",
    ),
    "outcome-late": (
        INFO,
        "some work came to its end when its job had gone on without it; it changes nothing: {problem}",
    ),
    "late-message": (DEBUG, "a worker's message came too late to matter: {type} of run {run_id}"),
    "slept": (
        INFO,
        "povwatch stood still for {seconds} s (the machine slept, or the journal could not be written): the workers' time is counted from now",
    ),
    "worker-lost": (ERROR, "the worker is gone{where}: {problem} A new one starts"),
    "inputs-away": (ERROR, "{problem} Nothing is cancelled; it goes on when the folder is back"),
    "inputs-back": (INFO, "{inputs} is back"),
    "outputs-away": (ERROR, "{problem} No clip is started meanwhile; it goes on by itself when the folder is back"),
    "outputs-back": (INFO, "{outputs} is back"),
    "watch-restarted": (
        WARNING,
        "the folder's events had stopped: {problem} They are started anew; nothing was missed, the rescan sees all",
    ),
    "watch-unavailable": (
        WARNING,
        "no events from {inputs}: {problem} New clips are seen at the rescan, every {rescan}",
    ),
    "watch-short": (
        WARNING,
        "too few events from {inputs}: {problem} New clips there are seen at the rescan, every {rescan}",
    ),
    "error-files-later": (
        WARNING,
        "an error file cannot be written or removed now: {problem} It is tried again until it can be",
    ),
    "writers-unseen": (
        WARNING,
        "no way to see who is writing into {inputs} here: clips settle by time and content alone",
    ),
    "disk-full": (
        ERROR,
        "{where} has {free} left, less than disk.reserve ({reserve}): no clip is started. Make room; it goes on by itself",
    ),
    "journal-full": (ERROR, "{problem} Until then nothing is started, shown or charged"),
    "journal-back": (INFO, "the journal in {state} is written again: going on"),
    "disk-room": (INFO, "{where} has room again ({free}): going on"),
    "unreadable": (ERROR, "{path}: cannot be read ({problem}). Give the group of povwatch the right to read it"),
    "request": (INFO, "{verb} {clip}: {answer}"),
    "unanswered": (ERROR, "the answer to a request ({verb}) cannot be left in the spool: {problem}"),
    "closed": (INFO, "no clip is started: {problem} What runs is finished"),
    "open": (INFO, "clips are started again"),
    "request-all": (INFO, "{verb}: {answer}"),
    "queue-paused": (WARNING, "the queue waits: {problem} Next try {at}"),
    "page-unwritten": (WARNING, "the page is not up to date: {problem} Clips go on; next try {at}"),
    "page-written": (INFO, "the page {page} is up to date again"),
    "publish-later": (WARNING, "{clip}: cannot be published yet: {problem} Next try {at}"),
    # -- workers on other machines
    "engine-elsewhere": (
        INFO,
        "this machine cannot run the {engine} engine: {problem} Others do; a GPU that comes here is used too",
    ),
    "remote-joined": (INFO, "{label}{gpu} has joined: the {engine} engine is being loaded there"),
    "remote-taken-over": (INFO, "{label}{gpu} still has the {engine} engine loaded: it goes on at once"),
    "remote-left": (INFO, "{label} has left: {why}"),
    "remote-lost": (ERROR, "lost {label}: {problem} The others go on"),
    "remote-unavailable": (ERROR, "{label} cannot load the {engine} engine: {problem} The others go on"),
    "remote-fault": (WARNING, "{label}: that machine failed a clip that is not to blame: {problem}"),
    "node-rests": (
        ERROR,
        "{node} gets no worker for {rest}: {many} in a row have ended there without a clip. The last: {problem}",
    ),
    "bridge-here": (INFO, "povwatch pool (pid {pid}) is connected to the cluster at {address}, with Ray {ray}"),
    "bridge-gone": (
        WARNING,
        "povwatch pool is gone: {problem} What ran on other machines is handed back, nothing charged; this machine goes on",
    ),
    "bridge-refused": (WARNING, "somebody who wanted to offer workers (pid {pid}) was refused: {problem}"),
    "pool-unheard": (ERROR, "workers on other machines cannot be offered: {problem}. Next try {at}"),
    "pool-problem": (WARNING, "the pool of workers: {problem}"),
    "pool-well": (INFO, "the pool of workers has no problem any more"),
    "node-problem": (WARNING, "{node} gets no worker: {problem}"),
    # -- a clip on its way
    "seen": (INFO, "{clip}: seen, {size}"),
    "seen-many": (INFO, "{count} new clips seen, the first is {first}; each of them has a line when it moves on"),
    "base-chosen": (
        INFO,
        "{clip}: {why}; its files go by another name, such as {spec}",
    ),
    "arriving": (INFO, "{clip}: arriving, {size} is here, about {percent}"),
    "waiting": (INFO, "{clip}: waits ({waiting}): {detail}"),
    "arrived": (INFO, "{clip}: arrived, {frames} frames, {shape}, {pace}, {duration}"),
    "joined": (INFO, "{clip}: {spec} is one more look of a clip that has arrived"),
    "looks-limit": (
        WARNING,
        "{clip}: {count} JSONs beside it ask for looks of their own, and spec.variants_max is {most}. {first} is the first of {left} to wait. Raise it, or move some away",
    ),
    "damaged": (WARNING, "{clip}: damaged. {problem} What decodes is run"),
    "damaged-withdrawn": (INFO, "{clip}: changed, so povwatch go --damaged holds no longer"),
    "changed": (INFO, "{clip}: changed; it arrives anew"),
    "incomplete": (WARNING, "{clip}: still incomplete: {problem} See {error_file}"),
    "rejected": (ERROR, "{clip}: rejected: {problem} See {error_file}"),
    "spec-written": (
        INFO,
        "{clip}: JSON written: {spec}, prompt of the template {template}",
    ),
    "look-left-out": (
        WARNING,
        "{clip}: it gets no look of the template {template}: {spec} is the JSON of {holder}",
    ),
    "spec-carried": (INFO, "{clip}: was {before} before; its JSON goes along as {spec}; {left} stays where it is"),
    "spec-mended": (INFO, "{clip}: was {before} before; {spec} goes with it, and its video_path names {now} now"),
    "spec-left": (
        WARNING,
        "{clip}: its clip is gone, and its edited JSON stays: {spec}. If the clip has another name now, give the JSON that name too and put it into video_path",
    ),
    "spec-rewritten": (INFO, "{clip}: its JSON was deleted; written anew: {spec}"),
    "grace": (
        INFO,
        "{clip}: grace, starts at {deadline} unless {spec} is edited (now: {povwatch go}, later: {povwatch hold})",
    ),
    "edited": (INFO, "{clip}: edited; grace starts anew, until {deadline}"),
    "editing": (INFO, "{clip}: {spec} is open in an editor ({lock} is there); the grace waits"),
    "editor-closed": (INFO, "{clip}: {spec} was closed; starts at {deadline}"),
    "held": (INFO, "{clip}: held: {by}"),
    "unheld": (INFO, "{clip}: no longer held; starts at {deadline}"),
    "invalid-spec": (ERROR, "{clip}: its JSON cannot be run: {problem} See {error_file}"),
    "valid-spec": (INFO, "{clip}: {spec} is right again"),
    "lint": (WARNING, "{clip}: {spec}: {warning}"),
    "queued": (INFO, "{clip}: queued, {ahead} ahead of it"),
    "done-already": (
        INFO,
        "{clip}: done already, same video and same JSON: {output}. To run it again: {povwatch retry --force}",
    ),
    "late-edit": (INFO, "{clip}: {spec} was edited while the clip runs; the edit makes another run after this one"),
    # -- a job that runs
    "started": (INFO, "{clip}: started, attempt {attempt} of {attempts}{where}"),
    "resized": (WARNING, "{clip}: {problem}"),
    "prepared": (INFO, "{clip}: working copy ready, {frames} frames, {shape} ({how})"),
    "kept": (
        INFO,
        "{clip}: keeps what outputs/{file} shows and {dilate} pixels around it, {share} % of the picture{scaled}",
    ),
    "control-computed": (INFO, "{clip}: its control {key} was computed in {took} ({device})"),
    "control-note": (WARNING, "{clip}: its control {key}: {note}"),
    "control-kept": (INFO, "{clip}: its control {key} is kept for the clip's other looks, {size}"),
    "control-taken": (INFO, "{clip}: its control {key} was computed by {by}"),
    "sound-left-out": (WARNING, "{clip}: comes out without sound: {problem}"),
    "sound-changed": (WARNING, "{clip}: {problem}"),
    "progress": (INFO, "{clip}: {percent} % ({stage}), {eta} left"),
    "check-later": (WARNING, "{clip}: cannot be finished yet: {problem} Next try {at}"),
    "finish-retry": (
        WARNING,
        "{clip}: finishing failed: {problem} What was generated is kept, only finishing is tried again. Next try {at}",
    ),
    "finish-again": (INFO, "{clip}: what was generated is finished again; nothing is generated"),
    "approximated": (INFO, "{clip}: speed {speed}: {what}"),
    "generated": (INFO, "{clip}: generated in {took}; being checked"),
    "checked": (INFO, "{clip}: checked: {frames} frames, {shape}, {pace}, {duration}, {sound}"),
    "try-over": (
        INFO,
        "{clip}: try {number} of {most}, seed {seed}: {verdict}. Seed {next} is next",
    ),
    "tries-ended": (
        WARNING,
        "{clip}: a further seed failed: {problem} The best of the others is published, seed {seed}",
    ),
    "judged": (INFO, "{clip}: {tries}; seed {seed} is published: {verdict}"),
    "judged-bad": (WARNING, "{clip}: no seed passes ({tries}); the best is published, seed {seed}: {verdict}"),
    "scored": (INFO, "{clip}: scores: {scores}"),
    "scores-failed": (WARNING, "{clip}: comes out without {what}: {problem}"),
    "control-lost": (WARNING, "{clip}: its control video ({key}) is not published, the result is: {problem}"),
    "done": (INFO, "{clip}: done in {took}: {output}"),
    "moved": (INFO, "{clip}: the clip was moved to {to}"),
    "move-failed": (WARNING, "{clip}: done, but the clip could not be moved to {to}: {problem}"),
    "retry": (WARNING, "{clip}: attempt {attempt} failed: {problem} Next attempt {at}"),
    "released": (WARNING, "{clip}: handed back, nothing charged: {problem}"),
    "failed": (ERROR, "{clip}: failed: {problem} When that is fixed: {povwatch retry}"),
    "blocked": (ERROR, "{clip}: blocked by the engine's guardrail: {problem} Change the prompt or the video"),
    "cancelled": (INFO, "{clip}: cancelled: {why}"),
    "worker-died": (
        WARNING,
        "{clip}: its worker is lost: {problem} Counted as a crash, the attempt is given back. Next one {at}",
    ),
    "orphaned": (WARNING, "{clip}: was {state} when povwatch ended; {what}"),
    # -- hooks
    "hook-started": (INFO, "{clip}: hook {hook} starts ({when} the clip), attempt {attempt} of {attempts}"),
    "hook-output": (INFO, "{clip}: {hook}: {line}"),
    "hook-done": (INFO, "{clip}: hook {hook} done in {took}"),
    "hook-skipped": (INFO, "{clip}: hook {hook} is not run: {why}"),
    "hook-off": (INFO, "{clip}: hook {hook} was ended and charged nothing: {why}"),
    "hook-retry": (WARNING, "{clip}: hook {hook} failed (attempt {attempt}): {problem} Next attempt {at}"),
    "hook-later": (WARNING, "{clip}: hook {hook} cannot run now, nothing charged: {problem} Next try {at}"),
    "hook-unavailable": (ERROR, "{clip}: hook {hook} cannot be started: {problem} Clips wait for it. Next try {at}"),
    "hook-failed": (ERROR, "{clip}: hook {hook} failed: {problem} {follows}"),
    "hook-orphaned": (WARNING, "{clip}: hook {hook} ran when povwatch ended; {what}"),
    "hook-left": (
        WARNING,
        "{clip}: hook {hook} ended and left {left} behind, which were ended too. Have it wait for what it starts",
    ),
    "hook-inputs": (
        WARNING,
        "{clip}: while hook {hook} ran, this happened in inputs/: {what}. If the hook did it, have it write to {{outdir}} instead: inputs/ is its user's, and what looks like a clip there is taken for one",
    ),
    "hook-copy": (
        WARNING,
        "{clip}: hook {hook} changed its copy of the clip ({{video}}). The clip itself is as it was; have it write to {{outdir}} instead",
    ),
    "hook-flood": (INFO, "{clip}: hook {hook} printed too much: {lines} line(s) of it were left out here"),
    # -- notifications
    "notified": (INFO, "told {service}: {title}"),
    "notify-failed": (WARNING, "{service} could not be told: {problem} Next try {at}; clips go on"),
    "notify-dropped": (WARNING, "{count} notification(s) could not be sent for two days, and are dropped"),
    "notify-full": (
        WARNING,
        "{folder} has no room for more notifications ({kind}): they are only counted. Is what sends them running (povwatch notify --test)?",
    ),
    "notify-unwritten": (WARNING, "a notification ({kind}) cannot be left in {folder}: {problem}. Clips go on"),
    "notify-unsaved": (
        WARNING,
        "{folder} cannot be written: {problem}. What was sent is remembered until the sender ends, and may be sent again then",
    ),
    "notify-unavailable": (WARNING, "notifications are not sent: {problem} Next try {at}; clips go on"),
    "notify-unchecked": (WARNING, "the [[notify]] entries could not be checked: {problem}. Clips go on"),
    "notify-idle": (INFO, "{origin} has no [[notify]]: there is nobody to tell"),
    # -- the bridge to other machines
    "bridge-idle": (INFO, '{origin} has no [pool] kind = "ray": no other machine is asked to work'),
    "bridge-started": (INFO, "povwatch pool {version} with Ray {ray} serves the daemon at {socket} (pid {pid})"),
    "bridge-stopped": (INFO, "stopped; the daemon gives back what other machines worked on"),
    "bridge-died": (
        ERROR,
        "the bridge {how}; the daemon gives back what it worked on. Another one starts in {seconds} s",
    ),
    "bridge-waits": (INFO, "no daemon listens at {socket} ({problem}): it is waited for"),
    "bridge-taken": (INFO, "the daemon at {socket} has taken this bridge"),
    "bridge-alone": (
        WARNING,
        "the daemon at {socket} is gone: workers leave their jobs, keep their engines and wait for it",
    ),
    "bridge-misunderstood": (ERROR, "the daemon sent what is no message: {problem}"),
    "bridge-connected": (INFO, "the cluster at {address} has {nodes} node(s)"),
    "bridge-unreachable": (
        WARNING,
        "no other machine can work: {problem} Clips are taken in, and this machine's own workers go on",
    ),
    "bridge-open": (WARNING, "the cluster is open to everybody who reaches it. {problem}"),
    "bridge-node-joined": (INFO, "{node} belongs to the cluster, with {gpus} GPU(s)"),
    "bridge-node-gone": (WARNING, "{node} does not belong to the cluster any more"),
    "bridge-node-refused": (ERROR, "{node} gets no work for now. {problem}"),
    "bridge-node-note": (WARNING, "{problem}"),
    "bridge-worker-placed": (INFO, "worker {worker} runs on {node} (pid {pid} there)"),
    "bridge-worker-gone": (INFO, "worker {worker} on {node} is gone ({reason}). {detail}"),
    "bridge-worker-lost": (WARNING, "a worker could not begin: {problem} The next one is asked for in {seconds} s"),
    "bridge-unforeseen": (
        ERROR,
        "a step of worker {worker} failed on what nobody foresaw: the worker is given up. Please report this",
    ),
    "bridge-chunk-waits": (WARNING, "a finished chunk of worker {worker} could not be fetched yet: {problem}"),
    "pool-head": (
        INFO,
        "this machine is the head of the pool's cluster, at {address}. On each further machine: copy {token} to the same place there (mode 600), then script/pool-node {address}",
    ),
    "pool-head-died": (ERROR, "the head of the cluster at {address} is gone: {problem} It starts again in {seconds} s"),
    # -- a further machine of a pool
    "node-waits": (WARNING, "nobody listens at {address}: it is waited for. On the first machine: script/run"),
    "node-works": (
        INFO,
        "{node} works for the pool at {address}, with {gpus} GPU(s) and povwatch {version}; its files are in {state}. Ctrl-C ends it",
    ),
    "node-left": (
        WARNING,
        "this machine does not belong to the pool at {address} any more: {problem} It joins again in {seconds} s",
    ),
    "node-stopped": (INFO, "stopped; nothing of the pool at {address} runs here any more"),
    # -- metrics
    "metrics-served": (INFO, "metrics are at {address}"),
    "metrics-unserved": (
        WARNING,
        "metrics cannot be served at {address}: {problem}. End the program that has the port, or set another metrics.port. It is tried again each minute; clips go on",
    ),
    "metrics-unwritten": (
        WARNING,
        "the metrics cannot be written to {file}: {problem}. The folder has to be there, and povwatch's user has to be allowed to write in it. Clips go on",
    ),
    # -- --once
    "summary": (INFO, "{text}"),
}
"""Event name -> its level and its sentence."""


SEE = " See {error_file}"
"""Left out where there is no error file."""

WHERE = "{where}"
"""The worker in brackets; left out where there is only one."""


def say(event: str, job: Job | None = None, **fields: Any) -> None:  # noqa: ANN401 - a field is whatever the sentence shows
    """Log one event.

    Args:
        event: a name in SENTENCES.
        job: adds the clip, the job's id and its state to the line's fields.
        fields: what the sentence names, and anything else worth keeping.
    """
    level, sentence = SENTENCES[event]
    if job is not None:
        look = {"look": job.look} if job.look else {}
        fields = {"clip": job.called, **look, "job": job.id, "state": str(job.state)} | fields
    if fields.get("error_file", SEE) is None:  # it could not be written, or a foreign file has its name
        sentence = sentence.removesuffix(SEE)
    if "where" not in fields:
        sentence = sentence.removesuffix(WHERE)
    if fields.get("frames") == 1:
        sentence = sentence.replace("{frames} frames", "{frames} frame")
    structlog.get_logger().log(level, event, sentence=sentence, **fields)
