# shellcheck shell=bash
# What every script here shares: where things are, and how to speak.
# shellcheck disable=SC2034 # used by those who source it

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/catamaran
TOOLS=$CACHE/tools
BIN=$TOOLS/bin

# Daemons live in sbin, which ordinary users often lack; our own tools come first.
PATH=$BIN:$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

# Progress goes to stderr, so that a script's result can be piped.
say() { printf '%s\n' "$*" >&2; }

die() {
  local code=$1
  shift
  say "error: $*"
  exit "$code"
}

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command with its output in a file, and shows that time passes: a counter on a
# terminal, a line every 30 s elsewhere. On failure the last lines are shown.
watched() {
  local label=$1 log=$2 start=$SECONDS pid code=0 shown=0 now
  shift 2
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    now=$((SECONDS - start))
    if [[ -t 2 ]]; then
      printf '\r%-60s %4d s ' "$label" "$now" >&2
    elif ((now - shown >= 30)); then
      shown=$now
      say "$label: still running, $now s"
    fi
  done
  wait "$pid" || code=$?
  [[ -t 2 ]] && printf '\r%-68s\r' '' >&2
  if ((code != 0)); then
    say "$label: failed (exit $code); the last lines of $log:"
    tail -n 20 "$log" | sed 's/^/  | /' >&2
    return "$code"
  fi
  say "$label: $((SECONDS - start)) s"
}
