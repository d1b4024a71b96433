#!/usr/bin/env bash
# Healthy: the broker answers on a port that clients use.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$(dirname "$0")/settings.sh"
settle
exec cub kafka-ready 1 3 -b "$(own_address)"
