"""Batches straight from shards, for cohorts larger than memory (docs/shards.md, Streaming)."""

from immo_hpc.data.stream.index import RowGroup, ShardIndex, StoredLayer
from immo_hpc.data.stream.opening import open_shards
from immo_hpc.data.stream.samples import read_samples
from immo_hpc.data.stream.source import StreamSource

__all__ = [
    "RowGroup",
    "ShardIndex",
    "StoredLayer",
    "StreamSource",
    "open_shards",
    "read_samples",
]
