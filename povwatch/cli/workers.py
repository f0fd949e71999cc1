"""The lines about workers and GPUs in status."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from povwatch.core.layout import shown
from povwatch.core.local_time import local
from povwatch.core.units import spell_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from povwatch.journal import JournalReader


def worker_lines(facts: Mapping[str, Any], reader: JournalReader) -> Iterator[str]:
    """What each worker does and since when, and its GPUs' memory; then the GPUs without a worker.

    Args:
        facts: the daemon's facts about itself; see daemon/status.py.
    """
    gpus = {gpu["uuid"]: gpu for gpu in facts.get("gpus", [])}
    for worker in facts.get("workers", []):
        mine = [_memory(gpus.pop(uuid)) for uuid in worker["gpus"] if uuid in gpus]
        about = ", ".join(filter(None, [worker["gpu"], "; ".join(mine)]))
        yield f"{worker['label']}{f' ({about})' if about else ''}: {_doing(worker, reader)}"
    for gpu in gpus.values():
        yield f"GPU {gpu['index']} {gpu['name']}: no worker, {_memory(gpu)}"


def _doing(worker: Mapping[str, Any], reader: JournalReader) -> str:
    since = f"since {_local(worker['since'])}"
    job = reader.job(worker["job"]) if worker["job"] is not None else None
    if job is not None:
        begun = [event.at for event in reader.events(job.id) if event.event == "started"]
        verb = "generates" if worker["state"] == "busy" else "waits for the working copy of"
        return f"{verb} {shown(job.path)} since {_local(begun[-1] if begun else job.updated_at)}"
    match worker["state"]:
        case "loading":
            return f"loads the engine{' (' + worker['loading'] + ')' if worker['loading'] else ''} {since}"
        case "ready":
            return f"ready, nothing to do {since}"
        case state:
            return f"{worker['waits'] or worker['problem'] or state} ({since})"


def _memory(gpu: Mapping[str, Any]) -> str:
    if not gpu["memory"]:
        return "its memory is unknown"
    return f"{spell_size(gpu['memory'] - gpu['free'])} of {spell_size(gpu['memory'])} in use"


def _local(at: float) -> str:
    moment, today = local(at), local(time.time()).date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%a %d %b %H:%M:%S")
