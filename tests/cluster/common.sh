# shellcheck shell=bash disable=SC2034,SC2046
# Sourced by the scripts beside it: where the cluster lives, and which processes are its own.
#   IMMO_CLUSTER       folder of everything it writes   (default: immo-cluster under TMPDIR)
#   IMMO_CLUSTER_PORT  first of the ports it listens on (default: 16800)
BASE=${IMMO_CLUSTER:-${TMPDIR:-/tmp}/immo-cluster}
PORT=${IMMO_CLUSTER_PORT:-16800}
NODES=4
HOSTS_LINE="127.0.0.1$(printf ' immo%s' $(seq "$NODES")) # test cluster $BASE"
export SLURM_CONF=$BASE/etc/slurm.conf

fail() {
  echo "test cluster: $*" >&2
  exit 1
}

# Every daemon gets SLURM_CONF by its environment, so a recycled pid is not taken for ours.
is_ours() { # pid
  [ "$(awk '{print $3}' "/proc/$1/stat" 2>/dev/null)" != Z ] &&
    grep -qzxF "SLURM_CONF=$SLURM_CONF" "/proc/$1/environ" 2>/dev/null
}

is_running() { # pid file
  [ -s "$1" ] && is_ours "$(cat "$1")"
}

wait_until() { # seconds, command...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}
