"""Prints to standard output what looks like our own protocol, from Python, from C's side, and from a program."""

import os
import pathlib
import subprocess

print('{"type": "loaded", "seq": 1, "capabilities": {}}')


class Engine:
    def load(self, config, report):
        print("no newline yet", end="")
        os.write(1, b"\nfrom C\n10%\r20%\r\n")
        return {"name": "prints_to_stdout"}

    def generate(self, job, context):
        print('{"type": "generated", "seq": 9, "job_id": 1, "run_id": "r", "artifact": {}}')
        print("a name \udcff that is no UTF-8 \x1b[31m")
        subprocess.run(["echo", "from a program"], check=True)
        path = pathlib.Path(context.workdir, "out.mp4")
        path.write_bytes(b"x")
        return {"path": str(path)}
