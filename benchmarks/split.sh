#!/usr/bin/env bash
# A clip that two GPUs work on together: the whole daemon with the diffusers engine, engine.gpus_per_worker = 2 and the
# real 2B configuration (random weights); then a clip of two chunks, one of whose ranks is killed.
# benchmarks/split.sh FOLDER [--dry] [options of benchmarks/bench_split.py]
#   FOLDER     gets model/ (22 GB; kept, and used again), pov/ and figures.json
#   --dry      the tests' tiny model on the CPU instead: shows in a minute that all of this works
#   PYTHON     the interpreter of an environment with povwatch, its dependencies and the diffusers engine's
# Machines without NVLink's multicast need NCCL_NVLS_ENABLE=0 in the environment.
set -euo pipefail
# shellcheck source=benchmarks/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

folder_of "$0" "$@"; shift
bench bench_split.py "--steps 2 --size 192x112 --frames 45 --long 61" "$@"
