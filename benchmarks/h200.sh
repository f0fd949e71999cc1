#!/usr/bin/env bash
# The whole daemon with the diffusers engine and the real 2B configuration (random weights) on one GPU: clips of 93, 200
# and 30 frames. Nothing is downloaded.
# benchmarks/h200.sh FOLDER [--dry] [options of benchmarks/bench_daemon.py]
#   FOLDER     gets model/ (22 GB; kept, and used again), pov/, daemon.log, figures.json and figures.md
#   --dry      the tests' tiny model on the CPU instead: shows in a minute that all of this works
#   PYTHON     the interpreter of an environment with povwatch, its dependencies and the diffusers engine's; PYTHONPATH does
#              not do, as the children of the daemon run isolated
# 35 steps take about 25 minutes on an H200; `--steps 5` gives the same seconds a step in 5.
set -euo pipefail
# shellcheck source=benchmarks/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

folder_of "$0" "$@"; shift
bench bench_daemon.py "--steps 2" "$@"
