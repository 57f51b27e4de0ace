#!/usr/bin/env bash
# Run a command with a cluster of its own, and take the cluster down whatever becomes of the command.
#   run.sh COMMAND...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || { echo "usage: run.sh COMMAND..." >&2; exit 2; }

# Nothing of a job that this may run in.
unset "${!SLURM_@}"
IMMO_CLUSTER=$(mktemp -d "${TMPDIR:-/tmp}/immo-cluster.XXXXXX")
# Another cluster may be up on this machine: the first block of ports that nobody listens on.
is_taken() { (: </dev/tcp/127.0.0.1/"$1") 2>/dev/null; }
IMMO_CLUSTER_PORT=16800
while is_taken $IMMO_CLUSTER_PORT || is_taken $((IMMO_CLUSTER_PORT + 1)) || is_taken $((IMMO_CLUSTER_PORT + 10)); do
  IMMO_CLUSTER_PORT=$((IMMO_CLUSTER_PORT + 20))
done
export IMMO_CLUSTER IMMO_CLUSTER_PORT

finish() {
  code=$?
  trap - EXIT INT TERM
  if [ $code = 0 ]; then
    bash "$here/down.sh" --remove
  else
    bash "$here/down.sh"
    echo "ended with $code; Slurm's own words are in $IMMO_CLUSTER/log" >&2
  fi
  exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

bash "$here/up.sh"
export SLURM_CONF=$IMMO_CLUSTER/etc/slurm.conf
"$@"
