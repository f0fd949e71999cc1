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
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

[ $# -gt 0 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2; }
folder=$1; shift
python=${PYTHON:-$root/.venv-diffusers/bin/python}
export PYTHONUNBUFFERED=1
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

engine=()
if [ "${1:-}" = --dry ]; then
  shift
  model=$folder/tiny
  build=("$root/tests/tiny_model.py" "$model")
  engine=(--tiny --steps 2)
else
  model=$folder/model
  build=("$root/benchmarks/build_random_2b.py" "$model")
fi
if ! [ -e "$model/built" ]; then
  rm -rf "$model"
  "$python" "${build[@]}"
  touch "$model/built"
fi
exec "$python" "$root/benchmarks/bench_daemon.py" "$model" "$folder" "${engine[@]}" "$@"
