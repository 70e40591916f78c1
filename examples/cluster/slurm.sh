#!/bin/bash
#SBATCH --job-name=diaspora
#SBATCH --nodes=3
#SBATCH --time=00:30:00
# Servers on the first nodes of the job, the application on the others.
#
#   sbatch slurm.sh node analyse.mjs
#
# The application finds the servers by DIASPORA_GROUP_FILE. Settings, by environment:
#   DIASPORA_SERVERS  number of server nodes                                   (1)
#   DIASPORA_LISTEN   interface or subnet of the fast network                  (tcp://ib0:0)
#   DIASPORA_DATA     directory for events on each server node, below it a folder for each server: node-local NVMe is
#                     fastest, a shared directory survives the job             (WORK/data)
#   DIASPORA_WORK     folder on the shared file system for the group file      (diaspora-JOBID where sbatch was called)
#   DIASPORA          the command line                                         (npx diaspora)
set -euo pipefail

servers=${DIASPORA_SERVERS:-1}
work=${DIASPORA_WORK:-$SLURM_SUBMIT_DIR/diaspora-$SLURM_JOB_ID}
diaspora=${DIASPORA:-npx diaspora}
export DIASPORA_GROUP_FILE=$work/group.json
mkdir -p "$work"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
if (( ${#nodes[@]} <= servers )); then
  echo "slurm.sh: $servers server nodes leave none of ${#nodes[@]} for the application" >&2
  exit 2
fi
list() { local IFS=,; echo "$*"; }
server_nodes=$(list "${nodes[@]:0:servers}")
client_nodes=$(list "${nodes[@]:servers}")

# RDMA pins memory. Where the limit cannot be raised here, it is the administrator's to raise (docs/guides/cluster.md).
ulimit -l unlimited 2>/dev/null || true

# One server on each of its nodes. `exec`: the signal that ends the step reaches the server itself.
srun --nodes="$servers" --ntasks="$servers" --nodelist="$server_nodes" --overlap --propagate=MEMLOCK \
  bash -c "exec $diaspora serve --data '${DIASPORA_DATA:-$work/data}'/\$SLURM_PROCID --insecure \
    --listen '${DIASPORA_LISTEN:-tcp://ib0:0}' --group-file '$DIASPORA_GROUP_FILE'" &
step=$!

# At the end, also when the application failed: SIGTERM lets the servers write and sync what they have.
stop() {
  kill -TERM "$step" 2>/dev/null || true
  wait "$step" || true
}
trap stop EXIT

$diaspora wait --servers "$servers" --timeout 120000
srun --nodes=$(( ${#nodes[@]} - servers )) --nodelist="$client_nodes" --overlap --propagate=MEMLOCK "$@"
