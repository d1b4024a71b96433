# shellcheck shell=bash
# What the five scripts share: commands shown before they run, answers held against what the
# document promises, and everything taken away at the end. Sourced.
#
# A line of a document is given to `step` as printed; the only silent change is the image's name.
# Every other change stands behind `corrected`, with its reason. What a document asks for that is
# not there stands behind `not_here`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[1]}")"
name=$(basename "$PWD")

broker_image=${BROKER_IMAGE:-rotpeter/broker}
coordinator_image=${COORDINATOR_IMAGE:-rotpeter/coordinator}
export broker_image coordinator_image
log=$(mktemp -d)
cleanups=()

at_exit() {
  local code=$? cleanup
  set +e
  for cleanup in "${cleanups[@]}"; do eval "$cleanup" > /dev/null 2>&1; done
  rm -rf "$log"
  if [ "$code" = 0 ]; then echo "PASSED: $name"; else echo "FAILED: $name ($code)"; fi
  exit "$code"
}
trap at_exit EXIT

# cleanup COMMAND: to be run at the end, the last first.
cleanup() { cleanups=("$1" "${cleanups[@]}"); }

step() { printf '$ %s\n' "$*"; "$@"; }
note() { printf '# %s\n' "$*"; }
corrected() { printf '# corrected: %s\n' "$*"; }
not_here() { printf '# not here: %s\n' "$*"; }
# missing WHAT: this machine lacks what would show it; where ROTPETER_REQUIRE_PEERS is set, nothing may.
missing() {
  [ -z "${ROTPETER_REQUIRE_PEERS:-}" ] || fail "missing: $*"
  not_here "$@"
}
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# sees PATTERN COMMAND…: runs, shows what it answers, and wants the pattern in it.
sees() {
  local pattern=$1
  shift
  printf '$ %s\n' "$*"
  "$@" > "$log/answer" 2>&1 || { cat "$log/answer"; fail "$* ended with an error"; }
  cat "$log/answer"
  grep -Eq -- "$pattern" "$log/answer" || fail "no \"$pattern\" in what it answered"
}

# within SECONDS COMMAND…: tried until it succeeds.
within() {
  local until=$((SECONDS + $1))
  shift
  until "$@" > "$log/within" 2>&1; do
    [ "$SECONDS" -lt "$until" ] || { cat "$log/within"; fail "not in time: $*"; }
    sleep 0.3
  done
}

# inside CONTAINER: the shell of `docker exec -it CONTAINER bash`, its lines from standard input. Once a
# container that is given a terminal, by `script`; then without one, so that the lines can be piped.
inside() {
  if ! command -v script > /dev/null; then
    missing "script, so docker exec -it $1 bash is not given a terminal"
  elif [ ! -e "$log/terminal-$1" ]; then
    script -qec "docker exec -it $1 bash -c 'test -t 0 -a -t 1'" /dev/null < /dev/null \
      || fail "docker exec -it $1 bash has no terminal"
    : > "$log/terminal-$1"
  fi
  corrected "-i for -it, and bash -e: the lines come from a pipe, and the first that fails ends them"
  printf '$ docker exec -it %s bash\n' "$1"
  tee "$log/lines" | sed "s/^/$1\$ /"
  { declare -f ctrl_c_after; cat "$log/lines"; } | docker exec -i "$1" bash -e 2>&1 | tee "$log/answer"
}

# ctrl_c_after PATTERN COMMAND…, for `inside`: what would wait for ever gets its Ctrl-C as soon as it has
# shown what was expected of it, or after a minute.
ctrl_c_after() {
  local tries=0
  : > /tmp/shown
  "${@:2}" > /tmp/shown 2>&1 &
  until grep -Eq -- "$1" /tmp/shown || [ "$tries" = 300 ]; do tries=$((tries + 1)); sleep 0.2; done
  kill -INT $!
  wait $! || true
  cat /tmp/shown
}

answer_has() { grep -Eq -- "$1" "$log/answer" || fail "no \"$1\" in what was answered"; }
answer_lacks() { ! grep -Eq -- "$1" "$log/answer" || fail "\"$1\" in what was answered"; }

# at_most NAME VALUE MOST UNIT
at_most() {
  printf '# %s: %s %s (at most %s)\n' "$1" "$2" "$4" "$3"
  [ "$2" -le "$3" ] || fail "$1: $2 $4"
}

# figure NAME VALUE MOST UNIT: as at_most, of times. On a machine that has other work ROTPETER_SLACK=5
# lets each take five times as long.
figure() { at_most "$1" "$2" $((${ROTPETER_SLACK:-1} * $3)) "$4"; }

# Nothing of the user's may be stopped or taken away: what the script will make must not be there.
must_be_free() {
  local thing
  for thing; do
    if docker container inspect "$thing" > /dev/null 2>&1; then
      cleanups=()
      echo "a container named $thing is here already; it would be taken away. Remove it first" >&2
      exit 2
    fi
  done
}

healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$1")" = healthy ]; }

# Version 1 is `docker-compose`, version 2 `docker compose`; the documents write both. Where only one is
# installed it answers for the other.
if ! command docker compose version > /dev/null 2>&1; then
  note "docker compose is not installed here: docker-compose answers in its place"
  docker() {
    if [ "${1-}" = compose ]; then shift; docker-compose "$@"; else command docker "$@"; fi
  }
elif ! command -v docker-compose > /dev/null; then
  note "docker-compose is not installed here: docker compose answers in its place"
  docker-compose() { command docker compose "$@"; }
fi
for image in "$broker_image" "$coordinator_image"; do
  docker image inspect "$image" > /dev/null 2>&1 \
    || { echo "the image $image is missing; docker/Dockerfile says how to build it" >&2; exit 2; }
done
