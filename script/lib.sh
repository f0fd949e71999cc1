# Shared by the commands in script/: sourced, never run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034  # for those who source this
venv=$root/.venv
# shellcheck disable=SC2034
diffusers_venv=$root/.venv-diffusers

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The names of the packages in a lock.
locked() { sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' "$1"; }

# The newest Python that the locked dependencies have wheels for.
find_python() {
  local candidate
  for candidate in "${POVWATCH_PYTHON:-}" python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  die "povwatch needs Python 3.11 or newer and found none. Install it (Debian: apt-get install python3 python3-venv), or name one: POVWATCH_PYTHON=/path/to/python3 $0"
}

# apt_needs PACKAGE ...: installs what is missing where apt and root allow it, and says exactly what is missing where not.
apt_needs() {
  local missing=() package sudo=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then sudo=(sudo -n); else
      die "Missing system packages: ${missing[*]}. Install them: sudo apt-get install ${missing[*]}"
    fi
  fi
  say "Installing system packages: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "${missing[@]}" ||
         { "${sudo[@]}" apt-get update -q &&
           "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "${missing[@]}"; }; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    die "apt-get could not install: ${missing[*]} (whole log: $log). Install them by hand, then run this again."
  fi
  rm -f "$log"
}

# True if "$1" (a pkg-config module), a compiler and Python's headers are here, whatever put them there.
can_build_systemd_python() {
  local python=$1
  command -v pkg-config >/dev/null && command -v cc >/dev/null && pkg-config --exists libsystemd 2>/dev/null &&
    [ -e "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]
}
