#!/usr/bin/env bash
# Healthy: the broker answers on a port that clients use.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$(dirname "$0")/settings.sh"
# As the entrypoint did: the broker, which it became, was started with the same words.
mapfile -d '' -t words < /proc/1/cmdline
settle "${words[@]:1}"
exec cub kafka-ready 1 3 -b "$(own_address)"
