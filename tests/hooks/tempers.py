"""A hook with a temper, which also keeps a ledger: `python tempers.py LEDGER SEED JOB STEM VIDEO SPEC MADE [OUTPUT]`.

LEDGER gets a line as it begins and one as it has made MADE, which is what is expected of it.
The dice are the seed's, the ledger's, the clip's, the JSON's, and fall anew at each of a job's runs.
"""

import fcntl
import hashlib
import json
import os
import pathlib
import random
import signal
import sys
import time

TEMPERS = {"quick": 60, "slow": 16, "leaves": 6, "fails": 6, "forgets": 4, "is killed": 6, "hangs": 2}
"""How often each."""

CALM = "zz last"
"""A clip with this stem makes no trouble."""


def main(store, seed, job, stem, *files):
    """Run for one clip, one way or another."""
    video, spec, made, output = (*files, None)[:4]
    store, video, spec, made = map(pathlib.Path, (store, video, spec, made))
    made.unlink(missing_ok=True)
    earlier = store.read_text().count(f'"begun", "job": {job},') if store.exists() else 0
    film = digest(video)
    lock = store.with_suffix(".lock").open("w")
    about = {"job": int(job), "run": f"{os.getpid()}-{time.monotonic_ns()}"}

    def note(what, **more):
        line = json.dumps({"what": what, **about, "at": time.monotonic(), **more})
        with store.open("a") as file:
            file.write(f"{line}\n")

    asked = json.loads(spec.read_text())
    published = output and (digest(pathlib.Path(output)) if os.path.exists(output) else "gone")  # noqa: PTH110
    note("begun", alone=locked(lock), video=film, spec=asked, output=published)
    dice = random.Random(f"{seed}/{store.stem}/{film}/{asked['seed']}/{earlier}")  # noqa: S311 - to be had again
    (temper,) = dice.choices(list(TEMPERS), list(TEMPERS.values()))
    behave("quick" if stem == CALM else temper, dice, lock)
    if temper != "forgets" or stem == CALM:
        made.write_text(json.dumps(about))
        note("made")


def behave(temper, dice, lock):
    """Take some time, and then what the temper says."""
    time.sleep(dice.uniform(0.8, 1.5) if temper == "slow" else dice.uniform(0.0, 0.3))
    if temper == "fails":
        sys.exit("a bad temper")
    if temper == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if temper == "leaves" and os.fork() == 0:
        lock.close()
        os.setsid()
        time.sleep(600)
    while temper == "hangs":
        time.sleep(60)


def locked(lock):
    """Whether no other run of this hook is under way."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


main(*sys.argv[1:])
