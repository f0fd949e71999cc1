"""A hook that behaves as its clip is called: `python acts.py STEM VIDEO OUTDIR INPUTS`."""

import os
import pathlib
import sys
import time

stem, video, outdir, inputs = sys.argv[1], *map(pathlib.Path, sys.argv[2:])
print(f"I am {stem}\x1b[31m\u202e")
result = outdir / "result.json"
match stem:
    case "fails":
        print("no weights", file=sys.stderr)
        sys.exit(3)
    case "hangs":
        print("waiting for ever")
        time.sleep(600)
    case "nothing":
        pass
    case "leaves":
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                (outdir / "pid").write_text(str(os.getpid()))
                time.sleep(600)
            os._exit(0)
        while not (outdir / "pid").exists() or not (outdir / "pid").read_text():
            time.sleep(0.01)
    case "writes":
        with video.open("ab") as file:
            file.write(b"more")
        (inputs / "writes_overlay.txt").write_text("mine")
        spec = inputs / "writes.json"
        spec.write_text(spec.read_text().replace('"seed": 0', '"seed": 7'))
        result.write_text("{}")
    case "broken":
        result.write_text("{")
    case _:
        result.write_text("{}")
