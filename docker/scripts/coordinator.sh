#!/usr/bin/env bash
# The coordinator's entrypoint: writes zoo.cfg from the variables of the common ZooKeeper images,
# then becomes the coordinator. A zoo.cfg that somebody mounted is used as it is. Anything that is no
# argument of the coordinator's is run instead.
#
#   ZOO_…        as the official image has them: ZOO_TICK_TIME, ZOO_CFG_EXTRA, …
#   ZOOKEEPER_…  as Confluent's has them: ZOOKEEPER_CLIENT_PORT is clientPort, and so on
#
# Both count. Confluent's image insists on ZOOKEEPER_CLIENT_PORT, and keeps its data elsewhere: with it the
# folders are Confluent's unless ZOO_DATA_DIR says otherwise.
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

# official DATA LOGS: the official image's names.
official() {
  local name value
  set_line dataDir "${ZOO_DATA_DIR:-$1}"
  set_line dataLogDir "${ZOO_DATA_LOG_DIR:-$2}"
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
      ZOO_MY_ID | ZOO_LOG4J_PROP | ZOO_LOG_DIR) idle+=("$name") ;;
      ZOO_CONF_DIR | ZOO_CFG_EXTRA | ZOO_4LW_COMMANDS_WHITELIST) ;;
      ZOO_DATA_DIR | ZOO_DATA_LOG_DIR | ZOO_TICK_TIME | ZOO_MAX_CLIENT_CNXNS) ;;
      ZOO_AUTOPURGE_SNAPRETAINCOUNT | ZOO_AUTOPURGE_PURGEINTERVAL) ;;
      *) say "$name is none of the variables of ZooKeeper's image and is not used; a line of zoo.cfg" \
        "goes into ZOO_CFG_EXTRA." ;;
    esac
  done
}

# Confluent's names. Addresses that an orchestrator (a service called zookeeper) or a script leaves in the
# environment are no settings.
confluent() {
  local name value key
  for name in $(compgen -e ZOOKEEPER_); do
    value=${!name} key=${name#ZOOKEEPER_}
    [ -n "$value" ] || continue
    case $key in
      CLIENT_PORT) port=$value ;;
      4LW_COMMANDS_WHITELIST) words=$value ;;
      SERVERS) one_server_only "$name" "${value//;/ }" ;;
      SERVER_ID | LOG4J_* | TOOLS_LOG4J_* | GROUPS) idle+=("$name") ;;
      SERVICE_* | PORT | PORT_* | ENV_* | NAME | HOST | HOSTS | CONNECT | URL | VERSION | HOME) ;;
      AUTOPURGE_*) set_line "autopurge.$(camel "${key#AUTOPURGE_}")" "$value" ;;
      *) set_line "$(camel "$key")" "$value" ;;
    esac
  done
}

if [ ! -e "$file" ] || [ "$(head -n 1 "$file")" = "$mark" ]; then
  port=2181 words=srvr
  if [ -z "${ZOOKEEPER_CLIENT_PORT-}" ]; then
    official /data /datalog
  else
    official /var/lib/zookeeper/data /var/lib/zookeeper/log
  fi
  # The later of two lines counts.
  confluent
  set_line clientPort "$port"
  # Its words are the lines, as the official image has it, and the last ones.
  for line in ${ZOO_CFG_EXTRA-}; do
    case $line in
      4lw.commands.whitelist=*) words=${line#*=} ;;
      *) lines+=$'\n'$line ;;
    esac
  done
  # The health check asks `srvr`.
  case ",${words// /}," in *,srvr,* | *,'*',*) ;; *) words+=,srvr ;; esac
  set_line 4lw.commands.whitelist "$words"
  printf '%s\n' "$lines" > "$file" || refuse "$file cannot be written by user $(id -u)."
fi

# The coordinator reads what begins with -Dzookeeper of SERVER_JVMFLAGS.
for name in JVMFLAGS KAFKA_OPTS; do
  case ${!name-} in
    '') ;;
    *-Dzookeeper.*) export SERVER_JVMFLAGS="${SERVER_JVMFLAGS-} ${!name}" ;;
    *) idle+=("$name") ;;
  esac
done
for name in JMXPORT ZK_SERVER_HEAP KAFKA_HEAP_OPTS; do
  [ -z "${!name-}" ] || idle+=("$name")
done
[ ${#idle[@]} -eq 0 ] || say "These variables steer an ensemble or a Java machine and mean nothing here: ${idle[*]}"

mapfile -t directories < <(for key in dataDir dataLogDir; do sed -n "s/^$key=//p" "$file" | tail -n 1; done)
for directory in "${directories[@]}"; do
  if ! mkdir -p "$directory" 2> /dev/null || [ ! -w "$directory" ]; then
    refuse "$directory cannot be written by user $(id -u). If it is a folder of the host's, give it to" \
      "that user: chown -R $(id -u):$(id -g) FOLDER; or run the container as its owner: --user."
  fi
done

exec coordinator "$file" "$@"
