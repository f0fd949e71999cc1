#!/usr/bin/env bash
# The whole daemon with the diffusers engine and the real 2B configuration (random weights) on one GPU: clips of 93, 200
# and 30 frames. Nothing is downloaded.
# benchmarks/h200.sh FOLDER [--dry] [options of benchmarks/bench_daemon.py]
#   FOLDER     gets model/ (22 GB; kept, and used again), pov/, daemon.log, figures.json and figures.md
#   --dry      the tests' tiny model on the CPU instead: shows in a minute that all of this works
#   PYTHON     the interpreter of an environment with povwatch, its dependencies and the diffusers engine's; PYTHONPATH does
#              not do, as the children of the daemon run isolated
# On one H200, beside the model's making (1 minute):
#   --frames 93 --exact pipeline                6 minutes; the engine with diffusers' modules, figures.json for --beside
#   --steps 35,2,2 --beside FIGURES             6 minutes; seconds a step are those of 35, and the ratio to the run before
#   --frames 93x10 --steps 1 --compiled CACHE   3 minutes; a restart, and how long the GPU is idle between jobs
set -euo pipefail
# shellcheck source=benchmarks/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

folder_of "$0" "$@"; shift
bench bench_daemon.py "--steps 2" "$@"
