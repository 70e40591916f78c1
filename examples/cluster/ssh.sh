#!/bin/bash
# Servers on some hosts, by ssh; then a command here that finds them by DIASPORA_GROUP_FILE; then a clean end.
#
#   ssh.sh "host1 host2" node analyse.mjs
#
# Every host has the package installed in the same place and sees the working directory (a shared file system).
# Settings, by environment:
#   DIASPORA_LISTEN  interface or subnet of the fast network                     (tcp://ib0:0)
#   DIASPORA_DATA    directory for events, below it a folder for each host       (./diaspora-data)
#   DIASPORA         the command line                                            (npx diaspora)
#   REMOTE           runs a command line on a host: REMOTE HOST COMMAND          (ssh -n HOST COMMAND)
set -euo pipefail

read -ra hosts <<< "$1"
shift
diaspora=${DIASPORA:-npx diaspora}
remote=${REMOTE:-ssh -n}
work=$PWD/diaspora-$$
mkdir "$work"
export DIASPORA_GROUP_FILE=$work/group.json

for host in "${hosts[@]}"; do
  $remote "$host" "cd '$PWD' && exec $diaspora serve --data '${DIASPORA_DATA:-./diaspora-data}/$host' --insecure \
    --listen '${DIASPORA_LISTEN:-tcp://ib0:0}' --group-file '$DIASPORA_GROUP_FILE' --ready-file '$work/$host.ready'" &
done

# SIGTERM to each server by its own host; they write and sync what they have, and the ssh commands end.
stop() {
  for host in "${hosts[@]}"; do
    pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$work/$host.ready" 2>/dev/null || true)
    if [[ -n $pid ]]; then $remote "$host" "kill -TERM $pid" || true; fi
  done
  wait
  rm -rf "$work"
}
trap stop EXIT

$diaspora wait --servers "${#hosts[@]}" --timeout 60000
"$@"
