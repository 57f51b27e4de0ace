#!/usr/bin/env bash
# Bring the cluster up: munge, database, accounting, controller, four nodes. What runs already is left alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
export PATH=$PATH:/usr/sbin:/sbin
for tool in munged mariadbd slurmdbd slurmctld slurmd sinfo sacctmgr; do
  command -v $tool >/dev/null || fail "$tool is missing; install with: $here/install.sh --install slurm"
done
bash "$here/configure.sh"

# Node names must resolve, for the first node is where the processes of a training meet.
grep -qxF "$HOSTS_LINE" /etc/hosts || echo "$HOSTS_LINE" >>/etc/hosts ||
  echo "test cluster: the node names stand for nothing, as /etc/hosts cannot be written" >&2

if ! is_running "$BASE/run/munged.pid"; then
  munged --key-file "$BASE/etc/munge.key" --socket "$BASE/run/munge.socket" --pid-file "$BASE/run/munged.pid" \
    --log-file "$BASE/log/munged.log" --seed-file "$BASE/run/munge.seed"
fi

socket=$BASE/run/mariadb.socket
if [ ! -d "$BASE/database/mysql" ]; then
  mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$BASE/database" --skip-test-db \
    --auth-root-authentication-method=socket --auth-root-socket-user="$(id -un)" >"$BASE/log/database-made.log" 2>&1 ||
    fail "the database could not be made: $BASE/log/database-made.log"
fi
if ! is_running "$BASE/run/mariadbd.pid"; then
  setsid mariadbd --no-defaults --user="$(id -un)" --datadir="$BASE/database" --socket="$socket" --skip-networking \
    --pid-file="$BASE/run/mariadbd.pid" --log-error="$BASE/log/mariadb.log" --innodb-buffer-pool-size=64M \
    --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 </dev/null >/dev/null 2>&1 &
fi
wait_until 30 mariadb-admin --no-defaults --socket="$socket" ping || fail "no database; see $BASE/log/mariadb.log"

# slurmdbd knows no option for the socket; the client library takes it from the environment.
is_running "$BASE/run/slurmdbd.pid" || MYSQL_UNIX_PORT=$socket slurmdbd
wait_until 60 sacctmgr -n show cluster || fail "no accounting; see $BASE/log/slurmdbd.log"
sacctmgr -n -P show cluster format=cluster | grep -qx immo || sacctmgr -Q -i add cluster immo >/dev/null

# A second controller or node daemon would end the first, so only what is missing is started.
is_running "$BASE/run/slurmctld.pid" || slurmctld -f "$SLURM_CONF"
for n in $(seq "$NODES"); do
  is_running "$BASE/run/slurmd.immo$n.pid" || slurmd -N "immo$n" -f "$SLURM_CONF"
done
all_ready() {
  local ready
  ready=$(sinfo -h -N -p batch -o %T | grep -cE '^(idle|mixed|allocated)$')
  # A node that an earlier test set down comes back; one that is up refuses, which is no matter.
  [ "$ready" = "$NODES" ] || { scontrol update nodename="immo[1-$NODES]" state=resume; return 1; }
}
wait_until 60 all_ready || { sinfo -N -l >&2; fail "not all nodes are ready after 60 s; see $BASE/log"; }
echo "test cluster up: export SLURM_CONF=$SLURM_CONF"
