"""Sets of shards: what is in them, whether they are sound, and how they grow."""

from immo_hpc.workflow.shards.grow import append, merge, prune
from immo_hpc.workflow.shards.show import list_shards, statistics, verify

__all__ = ["append", "list_shards", "merge", "prune", "statistics", "verify"]
