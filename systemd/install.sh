#!/usr/bin/env bash
# Puts povwatch on this machine as a systemd service, or brings an installed one up to date. Safe to repeat.
# systemd/install.sh [--prefix DIR] [--no-start] [--root DIR]
#   --prefix DIR  where the program goes (/opt/povwatch)
#   --no-start    all but starting the service
#   --root DIR    only the files, below DIR: for an image of another machine, and for the tests
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
prefix=/opt/povwatch
root=
start=yes
data=/srv/povwatch
state=/var/lib/povwatch
config=/etc/povwatch/config.toml
pending=.restart-pending
changed=

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit "$1"; }

main() {
  read_options "$@"
  [ -n "$root" ] || ready_to_install
  umask 022
  mkdir -p "$root$prefix"
  fresh=$(mktemp -d "$root$prefix/.install.XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
  # Left by a run that did not get as far as the restart.
  [ ! -e "$root$prefix/$pending" ] || changed=yes

  program
  [ -n "$root" ] || environment
  service
  configuration
  if [ -n "$root" ]; then
    image
    return
  fi
  accounts_and_folders
  running
  farewell
}

read_options() {
  while [ $# -gt 0 ]; do
    case $1 in
      --prefix | --root)
        [ -n "${2:-}" ] || { say "$1 needs a folder."; usage 2; }
        if [ "$1" = --prefix ]; then prefix=${2%/}; else root=${2%/}; fi
        shift 2 ;;
      --no-start) start=no; shift ;;
      -h | --help) usage 0 ;;
      *) say "Unknown option: $1"; usage 2 ;;
    esac
  done
  # It is written into the unit and into a shell script.
  [[ $prefix =~ ^(/[A-Za-z0-9._-]+)+$ ]] || { say "--prefix has to be an absolute path of plain characters, not '$prefix'."; usage 2; }
}

ready_to_install() {
  local tool
  [ "$(id -u)" = 0 ] || die "This changes the system, so it needs root: sudo $0"
  for tool in systemctl systemd-sysusers systemd-tmpfiles; do
    command -v "$tool" >/dev/null || die "$tool is missing: this installs a systemd service. Without systemd, use script/run."
  done
  case $prefix/ in
    /home/* | /root/*) die "The service cannot see home folders. Choose another --prefix, such as /opt/povwatch." ;;
  esac
}

# The code, and what script/bootstrap needs to build its environment from.
program() {
  local name
  for name in povwatch script requirements; do place_folder "$name"; done
  for name in pyproject.toml README.md LICENSE config.toml; do
    place 644 "$source/$name" "$prefix/$name"
  done
  wrapper >"$fresh/command"
  place 755 "$fresh/command" /usr/local/bin/povwatch
}

# povwatch on everybody's PATH, with the configuration and the model files of the service.
wrapper() {
  cat <<COMMAND
#!/bin/sh
# Made by install.sh: povwatch as the service is set up.
export POVWATCH_COMMAND=povwatch POVWATCH_CONFIG=$config
export HF_HOME="\${HF_HOME:-/var/cache/povwatch/huggingface}"
case "\$1 \$* " in
  prefetch*' --check '* | prefetch*' --help '* | prefetch*' -h '*) ;;
  prefetch*)
    if [ "\$(id -un)" != povwatch ]; then
      echo 'The service has model files of its own. This fetches them: sudo systemctl start povwatch-prefetch@cosmos (or @diffusers)' >&2
      echo 'How far it is: journalctl -fu "povwatch-prefetch@*"' >&2
      exit 2
    fi ;;
esac
exec $prefix/.venv/bin/povwatch "\$@"
COMMAND
}

# The virtual environment, by the same script that developers use.
environment() {
  local python stamp=$prefix/.venv/.povwatch-stamp before
  before=$(cat "$stamp" 2>/dev/null || true)
  # The system's own Python first: the service sees no Python in a home folder.
  POVWATCH_PYTHON=${POVWATCH_PYTHON:-/usr/bin/python3} "$prefix/script/bootstrap"
  [ "$before" = "$(cat "$stamp")" ] || note_change
  python=$(readlink -f "$prefix/.venv/bin/python")
  case $python in
    /home/* | /root/*)
      rm -rf "$prefix/.venv"
      die "$python is in a home folder, where the service cannot see it. Name another: POVWATCH_PYTHON=/usr/bin/python3 $0" ;;
  esac
  # The service may not write beside the code; without this each of its processes would compile all of it anew.
  "$prefix/.venv/bin/python" -m compileall -q "$prefix/povwatch"
}

service() {
  local unit
  for unit in povwatch.service povwatch-gpu.service povwatch-notify.service povwatch-pool.service povwatch-prefetch@.service; do
    sed "s|/opt/povwatch|$prefix|g" "$source/systemd/$unit" >"$fresh/unit"
    place 644 "$fresh/unit" "/etc/systemd/system/$unit"
  done
  place 644 "$source/systemd/povwatch.sysusers.conf" /etc/sysusers.d/povwatch.conf
  place 644 "$source/systemd/povwatch.tmpfiles.conf" /etc/tmpfiles.d/povwatch.conf
}

# Yours once it is there: never written again.
configuration() {
  [ ! -e "$root$config" ] || return 0
  sed -e "s|^inputs = \"inputs\"|inputs = \"$data/inputs\"|" \
    -e "s|^outputs = \"outputs\"|outputs = \"$data/outputs\"|" \
    -e "s|^state = \".povwatch\"|state = \"$state\"|" \
    -e "s|^python = \"cosmos|python = \"$prefix/cosmos|" "$source/config.toml" >"$fresh/config.toml"
  local line
  for line in "inputs = \"$data/inputs\"" "outputs = \"$data/outputs\"" "state = \"$state\"" "python = \"$prefix/"; do
    grep -q "^$line" "$fresh/config.toml" || die "config.toml has changed its form: no line could be made to begin with $line"
  done
  place 644 "$fresh/config.toml" "$config"
}

accounts_and_folders() {
  systemd-sysusers /etc/sysusers.d/povwatch.conf
  systemd-tmpfiles --create /etc/tmpfiles.d/povwatch.conf
}

running() {
  systemctl enable --quiet povwatch.service
  if [ ! -d /run/systemd/system ]; then
    say "systemd does not run here (a container?), so the service starts at the next boot."
    rm -f "$prefix/$pending"
    return
  fi
  [ -z "$changed" ] || systemctl daemon-reload
  [ "$start" = yes ] || return 0
  # What runs already and has not changed is left running: a clip may be in the middle of its 15 minutes.
  systemctl "$([ -n "$changed" ] && echo restart || echo start)" povwatch.service ||
    die "povwatch did not start. Its last words: journalctl -u povwatch -n 30"
  rm -f "$prefix/$pending"
}

farewell() {
  [ -n "$changed" ] || say "Everything was up to date."
  say "
povwatch is installed in $prefix.
  Who may use it   sudo usermod -aG povwatch NAME    (then log in again)
  Copy videos to   $data/inputs
  Results come to  $data/outputs
  Its log          sudo journalctl -fu povwatch
  Model files      sudo systemctl start povwatch-prefetch@cosmos    (or @diffusers; the service itself has no network)
  What it is at    povwatch status
  Configuration    $config    (then: sudo systemctl restart povwatch)"
}

# What is left to do for the machine whose files are below the root; this one is left as it is.
image() {
  local there
  printf -v there %q "$(cd "$root" && pwd)"
  say "
The files are in $root, and nothing else of this machine was changed. What is left, from here:
  Its environment  sudo chroot $there $prefix/script/bootstrap    (needs the network)
  Its accounts     sudo systemd-sysusers --root=$there
  Its folders      sudo systemd-tmpfiles --root=$there --create
  Its start        sudo systemctl --root=$there enable povwatch    (from its next boot on)"
}

# place MODE FILE TARGET: installs a file below the root, if it is not there like that already.
place() {
  local target=$root$3
  if [ -f "$target" ] && [ ! -L "$target" ] && cmp -s "$2" "$target" && [ "$(stat -c %a "$target")" = "$1" ]; then
    return
  fi
  [ "$2" -ef "$target" ] || install -D -m "$1" "$2" "$target"
  note_change
}

# place_folder NAME: installs a folder of the repository whole, without what has gone from it.
place_folder() {
  local target=$root$prefix/$1
  cp -R "$source/$1" "$fresh/$1"
  find "$fresh/$1" -name __pycache__ -prune -exec rm -rf {} +
  chmod -R u=rwX,go=rX "$fresh/$1"
  if [ -d "$target" ] && diff -rq --exclude=__pycache__ "$fresh/$1" "$target" >/dev/null; then
    return
  fi
  [ ! -e "$target" ] || mv "$target" "$fresh/$1.old"
  mv "$fresh/$1" "$target"
  note_change
}

note_change() {
  changed=yes
  [ -n "$root" ] || : >"$prefix/$pending"
}

main "$@"
