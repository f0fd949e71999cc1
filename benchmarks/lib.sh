# Shared by the benchmarks on GPUs: sourced, never run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv-diffusers/bin/python}
export PYTHONUNBUFFERED=1

# usage SCRIPT: what its first comment says.
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$1"; exit 2; }

# model_in FOLDER COMMAND ...: has COMMAND write a model into FOLDER, unless it has done so before.
model_in() {
  local model=$1; shift
  [ ! -e "$model/built" ] || return 0
  rm -rf "$model"
  "$python" "$@" "$model"
  touch "$model/built"
}
