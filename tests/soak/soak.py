"""Does everything at once to a povwatch with a toy engine, for a while, and reckons up: every clip is accounted for.

    python tests/soak/soak.py [--seed N] [--seconds N] [--folder PLACE] [--prove]

The seed decides what is done, and in which order; how far it comes, and what meets what, is up to the machine.
world.py is what people know, actions.py what they do, troubles.py what befalls the daemon, witness.py who looks at
outputs/ meanwhile, ledger.py and results.py the reckoning, and tamper.py what proves that reckoning.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Soak, and say what was found."""
    asked = argparse.ArgumentParser(description="Soak povwatch.")
    asked.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of an earlier run")
    asked.add_argument("--seconds", type=float, default=600.0, help="of things happening; coming to rest takes more")
    asked.add_argument("--folder", type=Path, help="where; else a new one, kept if anything is wrong")
    asked.add_argument("--prove", action="store_true", help="let the ledger see, one by one, what is spoilt for it")
    args = asked.parse_args()
    from run import Soak  # noqa: PLC0415 - each daemon's process would import all of it with this file

    place = args.folder or Path(tempfile.mkdtemp(prefix="povwatch-soak-"))
    say(f"seed {args.seed}, {args.seconds:.0f} s, in {place}")
    wrong = Soak(place / "pov", args.seed, say).run(args.seconds, prove=args.prove)
    for line in wrong:
        say(f"WRONG: {line}")
    if not wrong and not args.folder:
        shutil.rmtree(place)
    say(f"{len(wrong)} wrong; to do the same again: script/soak --seed {args.seed} --seconds {args.seconds:.0f}")
    sys.exit(bool(wrong))


def say(line: str) -> None:
    """Print it at once."""
    print(line, flush=True)  # noqa: T201 - this is its output


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
