# Shared by the benchmarks on GPUs: sourced, never run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv-diffusers/bin/python}
export PYTHONUNBUFFERED=1

# usage SCRIPT: what its first comment says.
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$1"; exit 2; }

# folder_of SCRIPT FOLDER ...: makes the folder of a benchmark and sets `folder`, absolute; without one, the usage.
folder_of() {
  [ $# -gt 1 ] || usage "$1"
  mkdir -p "$2"
  folder=$(cd "$2" && pwd)
}

# bench PROGRAM TINY [--dry] [OPTION ...]: runs a benchmark of the diffusers engine on a model in $folder: the real
# configuration with random weights; with --dry the tests' tiny model on the CPU, with the options in TINY.
bench() {
  local program=$1 model=$folder/model build=$root/benchmarks/build_random_2b.py engine=() tiny
  read -ra tiny <<<"$2"
  shift 2
  if [ "${1:-}" = --dry ]; then
    shift
    export OMP_NUM_THREADS=1
    model=$folder/tiny
    build=$root/tests/support/tiny_model.py
    engine=(--tiny "${tiny[@]}")
  fi
  model_in "$model" "$build"
  exec "$python" "$root/benchmarks/$program" "$model" "$folder" "${engine[@]}" "$@"
}

# model_in FOLDER COMMAND ...: has COMMAND write a model into FOLDER, unless it has done so before.
model_in() {
  local model=$1; shift
  [ ! -e "$model/built" ] || return 0
  rm -rf "$model"
  "$python" "$@" "$model"
  touch "$model/built"
}
