#!/usr/bin/env bash
# The broker's entrypoint: settles what the container implies, then becomes the broker. Anything
# that is no argument of the broker's is run instead: `docker run … kafka-topics --help`, `… bash`.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$(dirname "$0")/settings.sh"

case ${1-} in
  '' | -* | *.properties | *.yaml | *.yml) ;;
  broker) shift ;;
  *) exec "$@" ;;
esac

settle "$@"

old_name() {
  local old=$1 host=${2:-localhost} port=${3:-9092}
  say "$old was removed in Kafka 3 and is ignored. What it said is said now by" \
    "KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://$host:$port"
}
if [ -n "${KAFKA_ADVERTISED_HOST_NAME-}" ]; then
  old_name KAFKA_ADVERTISED_HOST_NAME "$KAFKA_ADVERTISED_HOST_NAME" "${KAFKA_ADVERTISED_PORT-}"
  unset KAFKA_ADVERTISED_HOST_NAME KAFKA_ADVERTISED_PORT
fi

IFS=, read -r -a directories <<< "${KAFKA_LOG_DIRS-},${KAFKA_COORDINATOR_DATA_DIR-}"
for directory in "${directories[@]}"; do
  [ -n "$directory" ] || continue
  if ! mkdir -p "$directory" 2> /dev/null || [ ! -w "$directory" ]; then
    refuse "$directory cannot be written by user $(id -u). If it is a folder of the host's, give it to" \
      "that user: chown -R $(id -u):$(id -g) FOLDER; or run the container as its owner: --user."
  fi
done

# A volume from the other kind of start holds topics that this start does not see.
volume=${KAFKA_LOG_DIRS-} volume=${volume%%,*}
if [ -n "$embedded" ] && [ "${volume%/broker}" != "$volume" ] && [ -e "${volume%/broker}/meta.properties" ]; then
  say "${volume%/broker} belongs to a broker that worked with a ZooKeeper: its topics lie directly in it, and this" \
    "start, with a coordinator of its own, does not see them. To have them, set ZOOKEEPER_HOSTS to that" \
    "ZooKeeper's HOST:PORT; otherwise mount another volume."
elif [ -z "$embedded" ] && [ -n "$volume" ] && [ -e "$volume/broker/meta.properties" ]; then
  say "$volume belongs to a broker with a coordinator of its own: its topics lie in $volume/broker, and this" \
    "start does not see them. To have them, leave out ZOOKEEPER_HOSTS and KAFKA_ZOOKEEPER_CONNECT; otherwise" \
    "mount another volume."
fi

if [ -n "$advised" ]; then
  name=$(cat /proc/sys/kernel/hostname)
  say "This broker tells clients to reach it at $name:9092: containers on its network can. For clients" \
    "on the host, publish the port (-p 9092:9092) and set, for both kinds at once:"
  say "  KAFKA_LISTENERS=PLAINTEXT://:9093,HOST://:9092"
  say "  KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://$name:9093,HOST://localhost:9092"
  say "  KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=PLAINTEXT:PLAINTEXT,HOST:PLAINTEXT"
fi

exec broker "$@"
