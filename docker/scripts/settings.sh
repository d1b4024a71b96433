# shellcheck shell=bash
# What the broker's container implies where its variables leave something open. Sourced by the
# entrypoint, which starts the broker with it, and by the health check, which has to know the ports.
#
# The broker itself reads KAFKA_… (`_` is a dot, `__` an underscore, `___` a hyphen), CLUSTER_ID and
# the settings in KRaft's shape. Here is only what a container knows and a broker cannot: where the
# volume is, that nobody reaches loopback, and what the common images make of their own variables.

data=/var/lib/kafka/data

say() { printf '%s\n' "$*" >&2; }
refuse() { say "$@"; exit 1; }

# The names of listeners that belong to KRaft's controllers: accepted, never opened.
controller_listener() {
  case ",${KAFKA_CONTROLLER_LISTENER_NAMES:-}," in *",$1,"*) return 0 ;; *) return 1 ;; esac
}

# An empty variable says nothing; compose files write them as ${NAME:-}.
drop_empty() {
  local name
  for name in $(compgen -e KAFKA_) ZOOKEEPER_HOSTS CLUSTER_ID; do
    [ -n "${!name-}" ] || unset "$name"
  done
}

settle_zookeeper() {
  [ -n "${ZOOKEEPER_HOSTS-}" ] || return 0
  if [ -n "${KAFKA_ZOOKEEPER_CONNECT-}" ] && [ "$KAFKA_ZOOKEEPER_CONNECT" != "$ZOOKEEPER_HOSTS" ]; then
    refuse "ZOOKEEPER_HOSTS=$ZOOKEEPER_HOSTS and KAFKA_ZOOKEEPER_CONNECT=$KAFKA_ZOOKEEPER_CONNECT" \
      "name different ZooKeepers. Leave one of them out."
  fi
  export KAFKA_ZOOKEEPER_CONNECT=$ZOOKEEPER_HOSTS
  unset ZOOKEEPER_HOSTS
  # The short way is for one broker that is tried out. A generated id would be lost with the
  # container and leave its topics without a leader; Kafka's three copies would never exist.
  if [ ! -e "${KAFKA_LOG_DIRS:-$data}/meta.properties" ]; then
    [ -n "${KAFKA_NODE_ID-}" ] || export KAFKA_BROKER_ID=${KAFKA_BROKER_ID:-1}
  fi
  export KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=${KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR:-1}
  export KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=${KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR:-1}
  export KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=${KAFKA_TRANSACTION_STATE_LOG_MIN_ISR:-1}
}

settle_listeners() {
  if [ -n "${KAFKA_LISTENERS-}" ]; then return 0; fi
  if [ -n "${KAFKA_ADVERTISED_LISTENERS-}" ]; then
    # As the common images have it: one listens on every address, on the ports one advertises.
    KAFKA_LISTENERS=$(sed -E 's#://(\[[^]]*\]|[^:,]*):#://0.0.0.0:#g' <<< "$KAFKA_ADVERTISED_LISTENERS")
  else
    KAFKA_LISTENERS=PLAINTEXT://:9092
    advised=yes
  fi
  export KAFKA_LISTENERS
}

# One volume holds everything. A coordinator inside the broker gets a folder beside the logs', below
# the directory that was named, for beside that directory would be outside the volume.
settle_directories() {
  local named=${KAFKA_LOG_DIRS:-${KAFKA_LOG_DIR:-$data}}
  if [ -n "$embedded" ] && [ -z "${KAFKA_COORDINATOR_DATA_DIR-}" ]; then
    export KAFKA_COORDINATOR_DATA_DIR=${named%%,*}/coordinator
    named=$(sed -E 's#/*[[:space:]]*(,|$)#/broker\1#g' <<< "$named")
  fi
  unset KAFKA_LOG_DIR
  export KAFKA_LOG_DIRS=$named
}

# The value of a key in a file of settings, as properties or as flat YAML; the last one counts.
in_file() { sed -nE "s/^[[:space:]]*${2//./\\.}[[:space:]]*[=:][[:space:]]*//p" "$1" 2> /dev/null | tail -n 1 || true; }

# Sets and exports all of the above; the arguments are the broker's.
settle() {
  local word file='' placed=''
  # shellcheck disable=SC2034  # the entrypoint gives the advice
  embedded=yes advised='' told_listeners=''
  drop_empty
  for word; do
    case $word in
      --zookeeper | --zookeeper=* | --override=zookeeper.connect=* | zookeeper.connect=*) embedded= ;;
      --data-dir | --data-dir=* | --override=log.dir=* | --override=log.dirs=* | log.dir=* | log.dirs=*) placed=yes ;;
      --override=listeners=* | listeners=*) told_listeners=${word##*listeners=} ;;
      *.properties | *.yaml | *.yml) file=$word ;;
    esac
  done
  if [ -n "$file" ]; then
    # A file is complete as it stands, but for where the volume is; variables still overrule its lines.
    [ -z "${ZOOKEEPER_HOSTS-}${KAFKA_ZOOKEEPER_CONNECT-}$(in_file "$file" zookeeper.connect)" ] || embedded=
    [ -z "$(in_file "$file" log.dirs)$(in_file "$file" log.dir)" ] || placed=yes
    told_listeners=${told_listeners:-${KAFKA_LISTENERS:-$(in_file "$file" listeners)}}
  else
    settle_zookeeper
    [ -z "${KAFKA_ZOOKEEPER_CONNECT-}" ] || embedded=
    [ -n "$told_listeners" ] || settle_listeners
  fi
  [ -n "$placed" ] || settle_directories
  # Published ports lead to the container's own address, never to its loopback.
  if [ -n "$embedded" ] && [ -z "$(in_file "$file" coordinator.address)" ]; then
    export KAFKA_COORDINATOR_ADDRESS=${KAFKA_COORDINATOR_ADDRESS:-0.0.0.0}
  fi
}

# HOST:PORT of the first listener that clients may use, as seen from inside the container.
own_address() {
  local item name rest host
  while read -r item; do
    name=${item%%://*} rest=${item#*://}
    controller_listener "$name" && continue
    host=${rest%:*}
    case $host in '' | 0.0.0.0 | '[::]') host=localhost ;; esac
    printf '%s:%s\n' "$host" "${rest##*:}"
    return
  done < <(tr ',' '\n' <<< "${told_listeners:-${KAFKA_LISTENERS:-PLAINTEXT://:9092}}" | tr -d ' ')
}
