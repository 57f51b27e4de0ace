#!/usr/bin/env bash
# Write the configuration of a cluster of four nodes on this one machine into its folder.
set -euo pipefail
. "$(dirname "$0")/common.sh"
host=$(hostname -s)
user=$(id -un)
ports=$((PORT + 10))-$((PORT + 9 + NODES))

[[ $BASE =~ ^/[^[:space:]]+$ ]] || fail "slurm.conf takes no blanks in paths; set TMPDIR or IMMO_CLUSTER to an absolute path without, found '$BASE'"
mkdir -p "$BASE"
[ -O "$BASE" ] || fail "$BASE belongs to somebody else; set IMMO_CLUSTER to another folder"
mkdir -p "$BASE"/{etc,log,run,state,database} "$BASE"/spool/immo{1..4}
chmod 755 "$BASE"/{,etc,run}

# The key is this cluster's own: nothing of a munge that the machine may have is used or changed.
if [ ! -s "$BASE/etc/munge.key" ]; then
  (umask 377 && head -c 128 /dev/urandom >"$BASE/etc/munge.key")
fi

cat >"$BASE/etc/slurm.conf" <<CONF
ClusterName=immo
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# A requeued job waits for its old credential to expire: 5 s instead of the 2 min of real clusters.
AuthInfo=socket=$BASE/run/munge.socket,cred_expire=5
StateSaveLocation=$BASE/state
SlurmdSpoolDir=$BASE/spool/%n
SlurmctldPidFile=$BASE/run/slurmctld.pid
SlurmdPidFile=$BASE/run/slurmd.%n.pid
SlurmctldLogFile=$BASE/log/slurmctld.log
SlurmdLogFile=$BASE/log/slurmd.%n.log
PlugStackConfig=$BASE/etc/plugstack.conf
MailProg=/bin/true
# Without cgroups: processes are found by their parents, memory is sampled every 2 s.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
# A node that was set down stays so until it is resumed.
ReturnToService=1
# Four CPUs a node are claimed, whatever the machine has.
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobRequeue=1
# What Slurm does unless told otherwise.
KillWait=30
SlurmctldTimeout=30
SlurmdTimeout=60
# Small, so that an array above the limit needs few tasks.
MaxArraySize=21
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$BASE/run/munge.socket
NodeName=immo[1-$NODES] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$ports] CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=batch Nodes=ALL Default=YES MaxTime=1-00:00:00 DefaultTime=10 DefMemPerCPU=1000 PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 State=UP
PartitionName=urgent Nodes=ALL MaxTime=1-00:00:00 DefaultTime=10 DefMemPerCPU=1000 PriorityTier=10 PreemptMode=OFF State=UP
CONF
: >"$BASE/etc/plugstack.conf"
# Two devices that every machine has stand for GPUs: Slurm counts them and sets CUDA_VISIBLE_DEVICES, torch finds none.
{
  echo "AutoDetect=off"
  printf "NodeName=immo[1-$NODES] Name=gpu File=%s\n" /dev/null /dev/zero
} >"$BASE/etc/gres.conf"

(umask 177 && cat >"$BASE/etc/slurmdbd.conf") <<CONF
AuthType=auth/munge
AuthInfo=socket=$BASE/run/munge.socket
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=$user
LogFile=$BASE/log/slurmdbd.log
PidFile=$BASE/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=$user
StorageLoc=slurm_accounting
CONF
