#!/usr/bin/env bash
# The cosmos engine on upstream's own package with the real 2B configuration (random weights) on one GPU: seconds a step,
# load, peak memory, cancel, kill and resume; and the diffusers engine beside it. Nothing is downloaded. Safe to repeat.
# benchmarks/upstream_h200.sh FOLDER [--dry] [--gpus N] [options of benchmarks/bench_upstream.py]
#   FOLDER     gets hf/ (24 GB; kept, and used again), run/, diffusers/, figures.json and figures.md
#   --dry      tiny networks on the CPU instead, with .venv-upstream (script/upstream-proof --setup): shows that all works
#   --gpus N   N GPUs do each job together, by upstream's context parallelism; a rank that is no leader is killed
#   UPSTREAM_PYTHON    the interpreter of upstream's environment: script/cosmos's, unless set. If it lacks NVIDIA's
#              libraries (transformer_engine, flash_attn), `script/upstream-proof --show PYTHON` lets it do without
#   PYTHON     the interpreter of an environment with povwatch, its dependencies and the diffusers engine's
#   DIFFUSERS=no       leaves the diffusers engine out
# On an H200 a step takes 8.5 s: the checkpoints 1 minute, the jobs 8 with --steps 3 --long 120, the diffusers engine 3.
set -euo pipefail
# shellcheck source=benchmarks/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

folder_of "$0" "$@"; shift
upstream=${UPSTREAM_PYTHON:-$root/cosmos-transfer2.5/.venv/bin/python}
cache=$folder/hf
beside=()
options=()
if [ "${1:-}" = --dry ]; then
  shift
  upstream=$root/.venv-upstream/bin/python
  cache=$root/.venv-upstream/hf
  options=(--size 160x96 --resolution 256 --steps 2)
  export OMP_NUM_THREADS=1
elif [ ! -f "$cache/povwatch-complete" ]; then
  "$upstream" "$root/tests/upstream_real/make_checkpoints.py" "$cache" --real edge
fi
[ -x "$upstream" ] || { echo "$upstream is not there: script/cosmos or script/upstream-proof --setup sets it up." >&2; exit 1; }
if [ "${DIFFUSERS:-}" != no ] && [[ " $* " != *" --gpus "* ]]; then
  if [ "$cache" = "$folder/hf" ]; then "$root/benchmarks/h200.sh" "$folder/diffusers" --steps 5 --frames 93
  else "$root/benchmarks/h200.sh" "$folder/diffusers" --dry --frames 93; fi
  beside=(--diffusers "$folder/diffusers/figures.json")
fi
exec "$python" "$root/benchmarks/bench_upstream.py" "$folder" --python "$upstream" --cache "$cache" \
  "${beside[@]}" "${options[@]}" "$@"
