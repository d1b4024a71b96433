#!/usr/bin/env bash
# The coordinator's entrypoint: writes zoo.cfg from the variables of the common ZooKeeper images,
# then becomes the coordinator. A zoo.cfg that somebody mounted is used as it is. Anything that is no
# argument of the coordinator's is run instead.
#
#   ZOO_…        as the official image has them: ZOO_TICK_TIME, ZOO_CFG_EXTRA, …
#   ZOOKEEPER_…  as Confluent's has them: ZOOKEEPER_CLIENT_PORT is clientPort, and so on
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }
refuse() { say "$@"; exit 1; }

# The command of the official image means the same.
case "${1-} ${2-}" in
  ' ') ;;
  'coordinator '*) shift ;;
  'zkServer.sh start-foreground') shift 2 ;;
  -*) ;;
  *) exec "$@" ;;
esac

mark='# Written by the entrypoint from the variables; a file without this line is left alone.'
file=${ZOO_CONF_DIR:-/conf}/zoo.cfg
lines=$mark
idle=()

set_line() { lines+=$'\n'"$1=$2"; }

# CLIENT_PORT → clientPort
camel() {
  local word first=yes out=
  for word in $(tr '_' ' ' <<< "${1,,}"); do
    if [ -n "$first" ]; then out=$word first=; else out+=${word^}; fi
  done
  printf '%s' "$out"
}

one_server_only() {
  local name=$1 servers=$2
  # shellcheck disable=SC2086  # a list of words
  set -- $servers
  [ $# -le 1 ] || refuse "$name names $# servers: the coordinator is one server, there is no ensemble." \
    "Start a single coordinator without $name and give every broker its address alone."
}

# The official image's names.
official() {
  local name value
  set_line dataDir "${ZOO_DATA_DIR:-/data}"
  set_line dataLogDir "${ZOO_DATA_LOG_DIR:-/datalog}"
  set_line tickTime "${ZOO_TICK_TIME:-2000}"
  set_line maxClientCnxns "${ZOO_MAX_CLIENT_CNXNS:-60}"
  set_line autopurge.snapRetainCount "${ZOO_AUTOPURGE_SNAPRETAINCOUNT:-3}"
  set_line autopurge.purgeInterval "${ZOO_AUTOPURGE_PURGEINTERVAL:-0}"
  if [ -n "${ZOO_4LW_COMMANDS_WHITELIST-}" ]; then words=$ZOO_4LW_COMMANDS_WHITELIST; fi
  for name in $(compgen -e ZOO_); do
    value=${!name}
    case $name in
      ZOO_INIT_LIMIT) set_line initLimit "$value" ;;
      ZOO_SYNC_LIMIT) set_line syncLimit "$value" ;;
      ZOO_STANDALONE_ENABLED) set_line standaloneEnabled "$value" ;;
      ZOO_ADMINSERVER_ENABLED) set_line admin.enableServer "$value" ;;
      ZOO_PORT_NUMBER) port=$value ;;
      ZOO_SERVERS)
        one_server_only "$name" "$value"
        case $value in *';'*) port=${value##*;} port=${port##*:} ;; esac ;;
      ZOO_CFG_EXTRA)
        # shellcheck disable=SC2086  # the words are the lines, as the official image has it
        lines+=$'\n'$(printf '%s\n' $value) ;;
      ZOO_MY_ID | ZOO_LOG4J_PROP | ZOO_LOG_DIR) idle+=("$name") ;;
    esac
  done
}

# Confluent's names; its data lies elsewhere.
confluent() {
  local name value key
  set_line dataDir "${ZOOKEEPER_DATA_DIR:-/var/lib/zookeeper/data}"
  set_line dataLogDir "${ZOOKEEPER_DATA_LOG_DIR:-/var/lib/zookeeper/log}"
  for name in $(compgen -e ZOOKEEPER_); do
    value=${!name} key=${name#ZOOKEEPER_}
    case $key in
      DATA_DIR | DATA_LOG_DIR) ;;
      CLIENT_PORT) port=$value ;;
      4LW_COMMANDS_WHITELIST) words=$value ;;
      SERVERS) one_server_only "$name" "${value//;/ }" ;;
      SERVER_ID | LOG4J_* | TOOLS_LOG4J_* | GROUPS) idle+=("$name") ;;
      AUTOPURGE_*) set_line "autopurge.$(camel "${key#AUTOPURGE_}")" "$value" ;;
      *) set_line "$(camel "$key")" "$value" ;;
    esac
  done
}

if [ ! -e "$file" ] || [ "$(head -n 1 "$file")" = "$mark" ]; then
  port=2181 words=srvr
  # Confluent's image insists on this one; others also find ZOOKEEPER_… set by their orchestrator.
  if [ -n "${ZOOKEEPER_CLIENT_PORT-}" ]; then confluent; else official; fi
  set_line clientPort "$port"
  # The health check asks `srvr`.
  case ",${words// /}," in *,srvr,* | *,'*',*) ;; *) words+=,srvr ;; esac
  set_line 4lw.commands.whitelist "$words"
  printf '%s\n' "$lines" > "$file" || refuse "$file cannot be written by user $(id -u)."
fi

# SERVER_JVMFLAGS is not among them: the coordinator reads what begins with -Dzookeeper.
for name in JVMFLAGS JMXPORT ZK_SERVER_HEAP KAFKA_HEAP_OPTS KAFKA_OPTS; do
  [ -z "${!name-}" ] || idle+=("$name")
done
[ ${#idle[@]} -eq 0 ] || say "These variables steer an ensemble or a Java machine and mean nothing here: ${idle[*]}"

IFS=$'\n' read -r -d '' -a directories < <(sed -nE 's/^(dataDir|dataLogDir)=//p' "$file" && printf '\0')
for directory in "${directories[@]}"; do
  if ! mkdir -p "$directory" 2> /dev/null || [ ! -w "$directory" ]; then
    refuse "$directory cannot be written by user $(id -u). If it is a folder of the host's, give it to" \
      "that user: chown -R $(id -u):$(id -g) FOLDER; or run the container as its owner: --user."
  fi
done

exec coordinator "$file" "$@"
