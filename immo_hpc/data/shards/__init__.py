"""Prepared cohorts as Parquet shards with a manifest; format version 1 (docs/shards.md)."""

from immo_hpc.data.shards.check import verify_shards
from immo_hpc.data.shards.grow import append_cohort
from immo_hpc.data.shards.merge import merge_shards
from immo_hpc.data.shards.read import ShardSet, read_shards
from immo_hpc.data.shards.write import write_shards

__all__ = [
    "ShardSet",
    "append_cohort",
    "merge_shards",
    "read_shards",
    "verify_shards",
    "write_shards",
]
