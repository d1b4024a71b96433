#!/usr/bin/env bash
# The broker's entrypoint: becomes the broker, which itself settles what a container implies
# (broker/src/config/container.rs). Anything that is no argument of the broker's is run instead:
# `docker run … kafka-topics --help`, `… bash`.
set -euo pipefail

case ${1-} in
  '' | -* | *.properties | *.yaml | *.yml) ;;
  broker) shift ;;
  *) exec "$@" ;;
esac
exec broker --volume /var/lib/kafka/data "$@"
