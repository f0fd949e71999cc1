"""povwatch doctor: checks whether this machine can run povwatch. Each line is ok, or says what to do."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from povwatch.arrival.watch import Watcher, raise_it, watches_allowed
from povwatch.arrival.writers import Writers, writer_open
from povwatch.cli.app import console, plain, shared, verbs
from povwatch.cli.doctor_pool import pool
from povwatch.cli.doctor_watching import metrics, notifications, scores
from povwatch.cli.finding import Finding
from povwatch.cli.prefetch import chosen
from povwatch.core.command import command
from povwatch.core.errors import JournalError, PovwatchError
from povwatch.core.local_time import local
from povwatch.core.mailbox import Mailbox
from povwatch.core.sentences import joined
from povwatch.core.units import spell_size
from povwatch.engines.choice import memory_needed
from povwatch.engines.devices import FP8_CAPABILITY, asked, no_share, shares, strangers
from povwatch.engines.guardrail_filters import lacking
from povwatch.engines.libraries import FLASH3_INSTALL, LOCKED, TORCH
from povwatch.engines.needs import REPOSITORY, approximate_size, needs, size_of_computing
from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer import memory as gpu_memory
from povwatch.engines.transfer import settings, weights
from povwatch.engines.upstream.facts import commit_of
from povwatch.files.fs import fsync_dir, rename_noreplace
from povwatch.files.health import NETWORK, identity
from povwatch.gpu import host_memory, nvml
from povwatch.journal import open_reader
from povwatch.media.run import call
from povwatch.models.missing import SHOWN, wishes
from povwatch.spec.prompts import configured_templates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.config.settings import Config, Engine
    from povwatch.gpu.nvml import Gpu, Gpus
    from povwatch.models.record import Presence


WATCHES_WANTED = 8192
"""The recommended number of watches, one for each folder. With fewer, only rescans see a large tree."""

PINNED = "2ff49d0717af02057ae79bc75c00fbff9da1b4e7"
"""The commit of cosmos-transfer2.5 that povwatch is written for."""

OLDEST_DRIVER = {"cosmos": (570, 124, 6)}
"""The oldest driver and CUDA versions, from upstream's docs/setup.md."""

HOPPER = 9
"""First number of the compute capability that FlashAttention-3 is written for."""

ASK_SECONDS = 120.0
"""Seconds for an interpreter to import torch, which is slow from a cold disk."""

PACKAGES = {"cosmos": ("cosmos_transfer2",), "diffusers": ("diffusers", "transformers", "accelerate", "safetensors")}

INSTALL = {"cosmos": "Run script/cosmos.", "diffusers": f"{TORCH}; then {LOCKED}"}

ASK = """
import importlib.metadata, importlib.util, json, sys
found = {"python": sys.version.split()[0]}
found["missing"] = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
try:
    import torch
    found["torch"] = str(torch.__version__)
    found["cuda"] = torch.version.cuda
    found["cudnn"] = torch.backends.cudnn.version()
    found["gpus"] = torch.cuda.device_count()
    for name in ("flash_attn_3", "fa3-fwd"):
        try:
            found.setdefault("flash3", f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            pass
except Exception as error:
    found["problem"] = f"{type(error).__name__}: {error}"
print("\\n" + json.dumps(found))
"""
"""The program that the engine's interpreter runs. povwatch's own has no torch, and must not load it."""


@verbs.command()
def doctor(
    context: typer.Context,
    engine: Annotated[
        str | None, typer.Option(metavar="KIND", help="Look whether it can run this engine; goes over engine.kind.")
    ] = None,
) -> None:
    """Look whether this machine can run povwatch, and say what to do where it cannot."""
    config = shared(context).config(engine=engine)
    able = True
    for finding in _findings(config, shared(context).zone):
        verdict = (
            "[green]ok[/green]" if not finding.todo else "[red]no[/red]" if finding.fatal else "[yellow]hm[/yellow]"
        )
        # No table: it would break commands, which are to be copied.
        console.print(f"{verdict}  {finding.about:<11}  {plain(finding.words)}", soft_wrap=True)
        able = able and not finding.fatal
    if not able:
        raise typer.Exit(3)


def _findings(config: Config, zone: str) -> Iterator[Finding]:
    yield Finding("python", sys.version.split()[0])
    yield Finding("time", f"{local(time.time()):%H:%M} {time.tzname[0]}", zone)
    looks = (_inputs, _outputs, _state, _events, _leases, _templates, _hooks, _codecs, scores, notifications, metrics)
    for look in (*looks, _gpus, _engine, pool):
        try:
            yield from look(config)
        except (OSError, PovwatchError) as error:
            yield Finding(look.__name__.removeprefix("_"), str(error), "Fix that first.", fatal=True)


def _inputs(config: Config) -> Iterator[Finding]:
    folder = config.paths.inputs
    if not folder.is_dir():
        yield Finding("inputs", f"{folder} is not there", "povwatch makes it at its start.")
        return
    fstype = identity(folder).fstype
    if fstype in NETWORK:
        yield Finding("inputs", f"{folder} is on a network file system ({fstype}): clips are found by rescans.")
    else:
        yield Finding("inputs", f"{folder} ({fstype})")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("inputs", f"{folder} may not be written", "The JSON files go there: chmod g+w.", fatal=True)


def _outputs(config: Config) -> Iterator[Finding]:
    folder = config.paths.outputs
    if not folder.is_dir():
        yield Finding("outputs", f"{folder} is not there", "povwatch makes it at its start.")
        return
    with tempfile.TemporaryDirectory(prefix=".povwatch-", dir=folder) as place:
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            Path(place, "a").touch()
            rename_noreplace(fd, b"a", fd, b"b")
            fsync_dir(fd)
        finally:
            os.close(fd)
    free = shutil.disk_usage(folder).free
    todo = ""
    if free < config.disk.reserve:
        todo = f"Less than disk.reserve ({spell_size(config.disk.reserve)}): no clip is started. Make room."
    yield Finding("outputs", f"{folder} ({identity(folder).fstype}), {spell_size(free)} free", todo, fatal=bool(todo))


def _state(config: Config) -> Iterator[Finding]:
    folder = config.paths.state
    place = folder if folder.is_dir() else folder.parent
    fstype = identity(place).fstype
    if fstype in NETWORK:
        yield Finding("state", f"{folder} is on {fstype}", "SQLite is not safe there: set paths.state.", fatal=True)
        return
    try:
        with open_reader(folder) as reader:
            jobs = sum(reader.counts().values())
        yield Finding("state", f"{folder} ({fstype}), jobs: {jobs}, SQLite {sqlite3.sqlite_version}")
    except JournalError as error:
        fresh = not (folder / "journal.sqlite3").exists()
        yield Finding("state", f"{folder}: no journal yet" if fresh else str(error), "" if fresh else "Fix that first.")


def _events(config: Config) -> Iterator[Finding]:
    """Watch inputs/ briefly, as the daemon does."""
    watches = watches_allowed()
    words = (
        f"inotify may watch {watches} folders" if watches is not None else "how many folders may be watched is unknown"
    )
    todo = raise_it(errno.ENOSPC) if watches is not None and watches < WATCHES_WANTED else ""
    watcher = Watcher(config.paths.inputs, Mailbox(lambda: None), recursive=config.arrival.recursive)
    if config.paths.inputs.is_dir():
        if not watcher.start():
            todo = watcher.problem or ""
        elif watcher.unwatched:
            todo = joined(watcher.shortage, "Until then the rescan finds new clips there.")
        watcher.stop()
    yield Finding("events", words, todo)


def _leases(config: Config) -> Iterator[Finding]:
    if not config.paths.inputs.is_dir():
        return
    with (
        tempfile.NamedTemporaryFile(prefix=".povwatch-", dir=config.paths.inputs) as file,
        Path(file.name).open("rb") as reader,
    ):
        seen = writer_open(reader.fileno())
    if seen is Writers.OPEN:  # our own file, so it works
        yield Finding("writers", "a program that still writes a clip is seen")
    else:
        yield Finding(
            "writers", "who writes cannot be seen here", "Clips settle by time and content; raise arrival.settle."
        )


def _templates(config: Config) -> Iterator[Finding]:
    found = configured_templates(config)
    yield Finding("templates", ", ".join(sorted(found)))


def _hooks(config: Config) -> Iterator[Finding]:
    for hook in config.hooks:
        program = hook.argv[0]
        path = hook.env.get("PATH", os.environ.get("PATH"))
        found = shutil.which(str(config.folder / program) if "/" in program else program, path=path)
        todo = "" if found or "{" in program else "Clips wait until it is: see `argv` in config.toml, and chmod +x."
        words = f"{hook.name}, {hook.when} each clip: {found or program}{' cannot be run' if todo else ''}"
        yield Finding("hook", words, todo)


def _codecs(_: Config) -> Iterator[Finding]:
    found = call("codecs", {}, timeout=60)
    missing = [name for name, there in found["codecs"].items() if not there]
    todo = f"PyAV lacks {', '.join(missing)}: reinstall it from its wheel (script/bootstrap)." if missing else ""
    yield Finding("codecs", f"PyAV {found['av']}, FFmpeg {found['ffmpeg']}", todo, fatal=bool(missing))


def _gpus(_: Config) -> Iterator[Finding]:
    seen = nvml.read_gpus()
    for found in seen.found:
        memory = f"{spell_size(found.free)} of {spell_size(found.memory)} free"
        yield Finding("gpu", f"{found.name}, {memory}, driver {seen.driver}")
    if seen.problem:
        yield Finding("gpu", f"{seen.problem}.", "Only the preview engine runs without one.")


def _engine(config: Config) -> Iterator[Finding]:
    seen = nvml.read_gpus()
    choice = chosen(config, seen)
    yield from engine_findings(choice.kind, config, seen)
    if choice.problem:
        yield Finding("engine", f"{choice.kind}: {choice.why}", f"It cannot run now: {choice.problem}.", fatal=True)
    else:
        yield Finding("engine", f"{choice.kind}: {choice.why}")


def engine_findings(engine_kind: str, config: Config, gpus: Gpus) -> Iterator[Finding]:
    """Check everything that a real engine needs.

    Args:
        engine_kind: cosmos or diffusers; nothing is checked for others.
    """
    if memory_needed(engine_kind, config.engine) is None:
        return
    yield driver(engine_kind, gpus)
    yield from memory(engine_kind, config.engine, gpus)
    if engine_kind == "diffusers":
        yield from text_encoder(config.engine.memory, gpus, host_memory.total())
    yield from devices(engine_kind, config, gpus)
    if engine_kind == "cosmos":
        yield submodule(config)
    yield from libraries(engine_kind, config, gpus)
    yield from model_files(engine_kind, config)
    yield guardrails(config)
    yield from prompts(engine_kind, config)


def driver(engine_kind: str, gpus: Gpus) -> Finding:
    """The driver's version, and the CUDA version that it supports."""
    if not gpus.driver:
        return Finding(
            "driver", gpus.problem or "of an unknown version", "Install NVIDIA's driver.", fatal=not gpus.found
        )
    seen = f"{gpus.driver}, CUDA up to {gpus.cuda}" if gpus.cuda else gpus.driver
    oldest = OLDEST_DRIVER.get(engine_kind)
    parts = tuple(int(part) for part in gpus.driver.split(".") if part.isdigit())
    if oldest and parts < oldest:
        wanted = ".".join(str(part) for part in oldest)
        return Finding("driver", seen, f"The {engine_kind} engine needs {wanted} or newer: upgrade it.", fatal=True)
    return Finding("driver", seen)


def memory(engine_kind: str, engine: Engine, gpus: Gpus) -> Iterator[Finding]:
    """Compare GPU memory with the engine's need; names the processes that use some of it."""
    need = memory_needed(engine_kind, engine) or 0
    able = any(not gpu.memory or gpu.memory >= need for gpu in gpus.found)
    for gpu in gpus.found:
        where = f"GPU {gpu.index}"
        if not gpu.memory:
            yield Finding("memory", f"{where} does not say how much it has; {spell_size(need)} are needed")
        elif gpu.memory < need:
            todo = f"The {engine_kind} engine needs {spell_size(need)}: take a larger GPU."
            less = gpu_memory.NEEDED["low"]
            if engine_kind == "diffusers" and less <= gpu.memory:
                todo = f'The whole model needs {spell_size(need)}: engine.memory = "low" needs {spell_size(less)}.'
            yield Finding("memory", f"{where} has {spell_size(gpu.memory)}", todo, fatal=not able)
        elif gpu.free < need:
            seen = f"{where} has {spell_size(gpu.free)} of {spell_size(gpu.memory)} free{_holders(gpu)}"
            yield Finding("memory", seen, f"{spell_size(need)} are needed: end what holds it, or wait.")
        else:
            yield Finding("memory", f"{where} has {spell_size(gpu.free)} free, {spell_size(need)} are needed")


def text_encoder(asked: str, gpus: Gpus, host: int | None) -> Iterator[Finding]:
    """Where the diffusers engine keeps its text encoder, if a GPU has not room for it or it is not to be there.

    Args:
        asked: engine.memory.
        gpus: as NVML sees them.
        host: bytes of the host's memory; None if unknown.
    """
    able = [gpu.free for gpu in gpus.found if gpu.free >= gpu_memory.needed(asked)]
    chosen = [gpu_memory.choose(asked, free)[0] for free in able]
    if "low" not in chosen:
        return
    where = "on the GPUs with too little memory" if "full" in chosen else "here"
    seen = f"low {where}: the text encoder waits in the host's memory"
    todo = ""
    if host is not None and host < gpu_memory.TEXT_ENCODER:
        todo = (
            f"The host has {spell_size(host)}, and its files are {spell_size(gpu_memory.TEXT_ENCODER)}: they are read "
            "from the disk again for each new prompt."
        )
    yield Finding("memory", seen, todo)


def devices(engine_kind: str, config: Config, gpus: Gpus) -> Iterator[Finding]:
    """The GPUs that engine.devices and engine.gpus_per_worker leave, unless it is all of them."""
    engine, needed = config.engine, memory_needed(engine_kind, config.engine) or 0
    if not gpus.found or (not engine.devices and engine.gpus_per_worker == 1):
        return
    if problem := no_share(gpus, devices=engine.devices, each=engine.gpus_per_worker, needed=needed):
        yield Finding("devices", problem, "Correct them: nvidia-smi -L lists the GPUs.", fatal=True)
    elif missing := strangers(gpus, engine.devices):
        seen = f"engine.devices names {', '.join(missing)}, which NVML does not see"
        yield Finding("devices", seen, "Correct it (nvidia-smi -L), or wait for that GPU.")
    else:
        each = shares(gpus, devices=engine.devices, each=engine.gpus_per_worker, needed=needed)
        groups = ("+".join(str(gpu.index) for gpu in share) for share in each)
        yield Finding("devices", f"a worker on each of GPU {', '.join(groups)}")


def submodule(config: Config) -> Finding:
    """Whether upstream's work tree exists, at the right commit."""
    tree = upstream_of(config)
    if not any((tree / name).exists() for name in (".git", "cosmos_transfer2")):
        return Finding("upstream", f"{tree} is empty", "Run script/cosmos.", fatal=True)
    commit = commit_of(tree)
    if not commit:
        return Finding("upstream", f"{tree} is on a branch, or was unpacked", f"It should be at {PINNED[:12]}.")
    if commit != PINNED:
        return Finding("upstream", f"{tree} is at {commit[:12]}", f"It should be at {PINNED[:12]}: run script/cosmos.")
    return Finding("upstream", f"{tree} at {commit[:12]}")


def upstream_of(config: Config) -> Path:
    """Upstream's work tree, found from its interpreter cosmos-transfer2.5/.venv/bin/python."""
    return config.engine.python.parent.parent.parent


def libraries(engine_kind: str, config: Config, gpus: Gpus, patience: float = ASK_SECONDS) -> Iterator[Finding]:
    """Ask the engine's interpreter about its libraries, in a separate process."""
    python = str(config.engine.python) if engine_kind == "cosmos" else sys.executable
    packages = PACKAGES[engine_kind]
    if engine_kind == "diffusers" and config.engine.guardrails:
        packages = (*packages, "cosmos_guardrail")
    try:
        found = _asked(python, packages, patience)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        why = "it gives no answer"
        if isinstance(error, OSError):
            why = error.strerror or why
        elif isinstance(error, subprocess.TimeoutExpired):
            why = f"it gives no answer within {patience:.0f} s"
        yield Finding("interpreter", f"{python} does not run: {why}", INSTALL[engine_kind], fatal=True)
        return
    yield Finding("interpreter", f"{python}, Python {found['python']}")
    if found["missing"]:
        yield Finding("libraries", f"{', '.join(found['missing'])} missing", INSTALL[engine_kind], fatal=True)
    if "problem" in found:
        yield Finding("torch", f"cannot be imported: {found['problem']}", INSTALL[engine_kind], fatal=True)
        return
    seen = f"{found['torch']}, CUDA {found['cuda'] or 'none'}, cuDNN {_cudnn(found['cudnn'])}"
    if not found["cuda"]:
        yield Finding("torch", seen, "This build is for CPUs: install one for CUDA.", fatal=True)
    elif gpus.found and not found["gpus"]:
        todo = f"It sees no GPU: the driver does CUDA {gpus.cuda or 'of an older kind'}; install a torch for that."
        yield Finding("torch", seen, todo, fatal=True)
    else:
        yield Finding("torch", seen)
        if engine_kind == "diffusers":
            yield from attention(found.get("flash3", ""), gpus)
            yield from speed(config.engine, found.get("flash3", ""), gpus)


def attention(flash3: str, gpus: Gpus) -> Iterator[Finding]:
    """The kernel for attention that the diffusers engine will try first.

    Args:
        flash3: the package with FlashAttention-3, and its version; empty if there is none.
        gpus: as NVML sees them.
    """
    if not any(gpu.capability and gpu.capability[0] == HOPPER for gpu in gpus.found):
        yield Finding("attention", "the fastest of torch's own that computes correctly here; the log names it")
    elif flash3:
        yield Finding("attention", f"FlashAttention-3 ({flash3}), if it passes its test at the load")
    else:
        todo = f"With FlashAttention-3 a step takes a tenth less time: {FLASH3_INSTALL}"
        yield Finding("attention", "cuDNN", todo)


def speed(engine: Engine, flash3: str, gpus: Gpus) -> Iterator[Finding]:
    """What the diffusers engine will approximate; see `attention` for the arguments."""
    if engine.speed == "exact":
        return
    able = [gpu for gpu in asked(gpus, engine.devices) if gpu.capability and gpu.capability >= FP8_CAPABILITY]
    if not able:
        todo = "This GPU does not compute in FP8: steps are left out, and those that are computed are exact."
        yield Finding("speed", f"{engine.speed}, without FP8", todo)
    elif flash3 and any(gpu.capability and gpu.capability[0] == HOPPER for gpu in able):
        yield Finding(
            "speed", f"{engine.speed}: attention and feed-forward in FP8, if they pass their tests at the load"
        )
    else:
        yield Finding(
            "speed", f"{engine.speed}: the feed-forward in FP8; attention stays as it is without FlashAttention-3"
        )


def model_files(engine_kind: str, config: Config) -> Iterator[Finding]:
    """Model files in the cache, their licences, and disk space for missing ones."""
    # The hub's client is slow to import, and the command line should be fast.
    from povwatch.models import hub, record  # noqa: PLC0415

    wanted = wishes(config)
    if engine_kind == "diffusers" and wanted.model and not REPOSITORY.fullmatch(wanted.model):
        yield _own_model(wanted.model, wanted.controls)
    snapshots = record.load(config.paths.state)
    looks = [record.presence(need, snapshots) for need in needs(engine_kind, wanted)]
    for seen in looks:
        yield _model(seen, command("prefetch", "--engine", engine_kind))
    lacking = [seen for seen in looks if not seen.there]
    pages = sorted({seen.need.licence for seen in lacking if seen.need.licence})
    if pages:
        token = "" if hub.has_token() else " Then set HF_TOKEN, or run `hf auth login`."
        yield Finding("licences", f"to be accepted at {', '.join(pages)}", f"Do so, if it was not done yet.{token}")
    elif looks:
        yield Finding("licences", "every file that asks for one is here")
    if lacking:
        place = hub.existing(hub.cache_of(looks[0].need))
        free = shutil.disk_usage(place).free
        whole = approximate_size(engine_kind, wanted) + size_of_computing(engine_kind, wanted)
        size = max(whole - sum(seen.size for seen in looks), 0)
        todo = "Make room, or set HF_HOME to a larger disk." if free < size else ""
        seen_room = f"{place} has {spell_size(free)} free; some {spell_size(size)} are to be fetched"
        yield Finding("room", seen_room, todo, fatal=bool(todo))


def guardrails(config: Config) -> Finding:
    """Whether prompts and videos are checked."""
    if config.engine.guardrails:
        return Finding("guardrails", "on: prompts and videos are checked")
    todo = "The model's licence does not hold like this: take engine.guardrails = false out, unless you have another."
    return Finding("guardrails", "off (engine.guardrails = false): nothing is checked", todo)


def prompts(engine_kind: str, config: Config) -> Iterator[Finding]:
    """Which of the guardrail's text filters check a JSON's prompts while it may be edited."""
    engine = config.engine
    if not engine.guardrails:
        return
    if engine.check_prompts == "off":
        yield Finding("prompts", 'checked by the engine alone, before it generates (engine.check_prompts = "off")')
        return
    whole = engine.check_prompts == "all"
    missing = lacking(engine_kind, language_model=whole)
    if missing:
        names = " and ".join(f"{need.repository} ({need.why})" for need in missing)
        todo = f"Run {command('prefetch', '--engine', engine_kind)}; until then the engine alone checks them."
        yield Finding("prompts", f"not checked while their JSON may be edited: {names} is not here", todo)
        return
    cpu = "all text filters" if whole else "the word lists"
    yield Finding("prompts", f"checked while their JSON may be edited: by an idle worker, else by {cpu} on the CPU")


def _model(seen: Presence, command: str) -> Finding:
    need = seen.need
    if not seen.there:
        names = [name for name in seen.missing if "*" not in name]
        which = f"lacks {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}" if names else "is not here"
        todo = f"Run {command}."
        if need.computes:
            todo += f" Until then, {need.computes} needs a control video in the JSON."
        return Finding("model", f"{need.repository} ({need.why}) {which}", todo, fatal=not need.computes)
    if not seen.checked:
        return Finding("model", f"{need.repository} ({need.why}) was never checked", f"Run {command}.")
    return Finding("model", f"{need.repository} ({need.why}), {spell_size(seen.size)}")


def _own_model(folder: str, controls: tuple[str, ...]) -> Finding:
    try:
        weights.locate(settings.Settings(model=folder, controls=controls, offline=True))
    except EngineFailure as failure:
        return Finding("model", failure.message, failure.todo or "Put it there.", fatal=True)
    return Finding("model", folder)


def _asked(python: str, packages: tuple[str, ...], patience: float) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 - the configured interpreter
        [python, "-c", ASK, *packages],
        capture_output=True,
        text=True,
        timeout=patience,
        check=True,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    found: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return found


def _cudnn(version: int | None) -> str:
    """Spell cuDNN's version number: 90700 is 9.7.0."""
    return f"{version // 10000}.{version % 10000 // 100}.{version % 100}" if version else "none"


def _holders(gpu: Gpu) -> str:
    if not gpu.processes:
        return ""
    named = [f"{process.name} ({process.pid})" for process in gpu.processes[:SHOWN]]
    return f"; {', '.join(named)} holds memory" if len(named) == 1 else f"; {', '.join(named)} hold memory"
