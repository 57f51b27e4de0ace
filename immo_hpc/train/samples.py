"""Where training takes its samples from: memory if they fit, else their shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from immo_hpc.config import ImmoConfig, TrainConfig
from immo_hpc.data.batches import BatchSource, Source
from immo_hpc.data.manifest import read_manifest
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.shards import read_shards
from immo_hpc.data.stream import ShardIndex, StreamSource, open_shards, read_samples
from immo_hpc.train.distributed import ALONE, Group
from immo_hpc.train.validation import BATCH_SIZE

Samples = PreparedCohort | ShardIndex

_GB = 10**9
# Of the memory for values, when they are streamed; the rest is for windows.
_HELD_OUT_SHARE = 0.25


def load_samples(shards: Path, config: TrainConfig) -> tuple[Samples, Preparation]:
    """The samples of a folder of shards: in memory if ``memory_gb`` allows, else opened.

    Which of the two follows from the manifest and the configuration alone.

    Raises:
        ShardError: If the shards are damaged or missing.
    """
    manifest = read_manifest(shards)
    size = sum(
        4 * manifest.num_measured(name) * len(features)
        for name, features in manifest.features.items()
    )
    if size > config.memory_gb * _GB:
        index = open_shards(shards)
        return index, index.preparation
    shard_set = read_shards(shards)
    return shard_set.cohort, shard_set.preparation


def features_of(samples: Samples) -> dict[str, tuple[str, ...]]:
    """Names of the features by layer."""
    return {name: layer.features for name, layer in samples.layers.items()}


def training_source(
    samples: Samples,
    places: NDArray[np.int64],
    config: ImmoConfig,
    device: torch.device,
    group: Group = ALONE,
) -> tuple[Source, str]:
    """Batches of the training samples, of them this process's part, and where they come from."""
    train = config.train
    if isinstance(samples, ShardIndex):
        stream = StreamSource(
            samples,
            places,
            batch_size=train.batch_size,
            seed=config.seed,
            memory_bytes=int((1 - _HELD_OUT_SHARE) * train.memory_gb * _GB),
            device=device,
            rank=group.rank,
            world_size=group.world_size,
            balance=train.balance,
        )
        notice = (
            f"streamed from shards: {_gb(samples.value_bytes)} GB of values in windows of "
            f"{_gb(stream.window_bytes)} GB, since train.memory_gb is {train.memory_gb:g}"
            + (", past the system's cache, which cannot hold them." if stream.past_cache else ".")
        )
        return stream, notice
    source = BatchSource(
        samples,
        places,
        batch_size=train.batch_size,
        seed=config.seed,
        device=device,
        rank=group.rank,
        world_size=group.world_size,
        balance=train.balance,
    )
    size = sum(layer.values.nbytes for layer in samples.layers.values())
    return source, f"held in memory: {_gb(size)} of {train.memory_gb:g} GB of values."


def held_out_samples(
    samples: Samples, places: NDArray[np.int64], config: TrainConfig, group: Group = ALONE
) -> tuple[PreparedCohort, NDArray[np.int64], str | None]:
    """The held-out samples in memory, their places there, and a sentence if some are left out.

    Streamed, they may take a quarter of ``memory_gb``; those of the smallest identity, which
    is a hash of the name, are taken, so that the choice stays as the cohort grows. Of several
    processes each gets whole batches of its own.
    """
    if isinstance(samples, PreparedCohort):
        return samples, _dealt(places, group), None
    order = places[np.argsort(samples.sample_uid[places].view(np.uint64), kind="stable")]
    size = np.cumsum(samples.sample_bytes[order])
    number = int(np.searchsorted(size, _HELD_OUT_SHARE * config.memory_gb * _GB, side="right"))
    chosen = np.sort(order[: max(number, 1)])
    mine = _dealt(chosen, group)
    cohort = read_samples(samples, mine)
    everyone = np.arange(len(mine), dtype=np.int64)
    if len(chosen) == len(places):
        return cohort, everyone, None
    notice = (
        f"the held-out error is measured on {len(chosen)} of {len(places)} held-out samples, "
        f"a fixed choice of what a quarter of train.memory_gb holds."
    )
    return cohort, everyone, notice


def _dealt(places: NDArray[np.int64], group: Group) -> NDArray[np.int64]:
    """The places that this process measures: one batch after the other to each in turn."""
    turn = np.arange(len(places)) // BATCH_SIZE % group.world_size
    mine: NDArray[np.int64] = places[turn == group.rank]
    return mine


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / _GB:.2f}" if num_bytes >= 0.005 * _GB else "less than 0.01"
