#!/usr/bin/env bash
# Clips an hour on two GPUs against one: the whole daemon with the diffusers engine and the real 2B configuration (random
# weights), equal clips of 93 frames with few steps, first with devices = [0], then with devices = [0, 1].
# benchmarks/two_gpus.sh FOLDER [--dry] [options of benchmarks/bench_two_gpus.py]
#   FOLDER     gets model/ (22 GB; kept, and used again), one/, two/ and figures.json and figures.md
#   --dry      the tests' tiny model on the CPU and one and two workers instead: shows in a minute that all of this works
#   PYTHON     the interpreter of an environment with povwatch, its dependencies and the diffusers engine's
# By the figures of one H100 (a step takes 9.2 s, all else of a clip 20 s, a load 26 s) 4 clips of 3 steps take 4 minutes
# on one and 2.5 on two, with the model's making 7 to 8 in all.
set -euo pipefail
# shellcheck source=benchmarks/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

folder_of "$0" "$@"; shift
bench bench_two_gpus.py "--steps 2 --size 192x112 --frames 61" "$@"
