#!/usr/bin/env bash
# Take the cluster down: jobs, daemons, the line in /etc/hosts. Ends processes by their pid, and only its own.
# With --remove its folder goes too.
set -uo pipefail
. "$(dirname "$0")/common.sh"
[ -d "$BASE/run" ] || exit 0

if is_running "$BASE/run/slurmctld.pid"; then
  no_jobs() { [ -z "$(squeue -h)" ]; }
  # Whoever submitted them; this squeue knows no other cluster.
  # shellcheck disable=SC2046
  no_jobs || timeout 10 scancel --quiet $(squeue -h -o %A)
  wait_until 15 no_jobs
fi

stop() { # pids
  local pid
  for pid in "$@"; do is_ours "$pid" && kill "$pid"; done
  is_gone() { ! is_ours "$pid"; }
  for pid in "$@"; do wait_until 10 is_gone || kill -9 "$pid"; done
}
for name in 'slurmd.*' slurmctld slurmdbd mariadbd munged; do
  # The pattern is meant, and several words: one file a node.
  # shellcheck disable=SC2046,SC2086
  stop $(cat "$BASE"/run/$name.pid 2>/dev/null)
done

# Steps whose node daemon is gone, and what jobs left behind.
for folder in /proc/[0-9]*; do
  pid=${folder#/proc/}
  is_ours "$pid" || continue
  if [ "$(cat "$folder/comm" 2>/dev/null)" = slurmstepd ] || grep -qz '^SLURM_JOB_ID=' "$folder/environ" 2>/dev/null; then
    kill -9 "$pid"
  fi
done

hosts=$(grep -vxF "$HOSTS_LINE" /etc/hosts)
# Written into the file, not renamed over it: in a container /etc/hosts is a mount.
[ "$hosts" = "$(cat /etc/hosts)" ] || echo "$hosts" >/etc/hosts
[ "${1:-}" != --remove ] || rm -rf "$BASE"
exit 0
