"""Cluster jobs: a command with a run folder, started again until it is done.

`profile` says where and with what, `task` what is run, `worker` runs it on the job's
host, `slurm`, `local` and `inprocess` bring workers there, `survey` tells how it stands.
It may import `immo_hpc` below the command line, needs no torch, and holds no mathematics.
"""
