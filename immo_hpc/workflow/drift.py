"""After a training that started from another run: how its samples have moved."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.embedding_drift import EmbeddingDrift, embedding_drift
from immo_hpc.data.manifest import kept_name, read_manifest
from immo_hpc.data.stream import ShardIndex, open_shards, read_samples
from immo_hpc.errors import ImmoError, RunError
from immo_hpc.files import write_text
from immo_hpc.inference.forward import embed
from immo_hpc.nn import ImmoModel
from immo_hpc.train import RunFolder, load_model
from immo_hpc.train.run import manifest_checksum

# More say no more about the whole, and both embeddings are held in memory.
_MOST = 50_000
_BLOCK = 4096
_FEWEST = 2


def write_drift(run: RunFolder, shards: Path) -> str | None:
    """Compare the embeddings of samples that a run shares with the run it started from.

    Written into the run folder as ``drift.tsv`` and ``drift.json`` once; a run that
    was not warm-started, or has them already, is left alone.

    Args:
        run: A finished run.
        shards: The shards it was trained on.

    Returns:
        A sentence for the user; None if there is nothing to do.

    Raises:
        OutputError: If the folder cannot be written.
    """
    started = run.read_description().get("init_from")
    if started is None or run.drift_summary.exists():
        return None
    origin = RunFolder(Path(started["run"]))
    try:
        drift = _compare(origin, run, shards)
    except ImmoError as error:
        return f"no drift table: {error}"
    if drift is None:
        return f"no drift table: {origin.path} and {run.path} share no two samples."
    write_text(run.drift, drift.table.to_csv(sep="\t"))
    values = {"from": str(origin.path), **drift.summary}
    write_text(run.drift_summary, json.dumps(values, indent=1) + "\n")
    return f"drift from {origin.path}: {drift.text()}; {run.drift.name} has each sample."


def _compare(origin: RunFolder, run: RunFolder, shards: Path) -> EmbeddingDrift | None:
    old, new = _shards_of(origin), open_shards(shards)
    common, places, others = np.intersect1d(old.sample_uid, new.sample_uid, return_indices=True)
    if len(common) < _FEWEST:
        return None
    # Of a hash of the names: a choice that stays as a cohort grows.
    chosen = np.argsort(common.view(np.uint64), kind="stable")[:_MOST]
    places, others = places[chosen], others[chosen]
    before = _embedded(load_model(origin.path).model, old, places)
    after = _embedded(load_model(run.path).model, new, others)
    names = new.sample_ids
    return embedding_drift(before, after, [names[place] for place in others.tolist()])


def _embedded(
    model: ImmoModel, index: ShardIndex, places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Latent of some samples in the order asked for, ``(sample, latent)``."""
    order = np.argsort(places)
    result = np.empty((len(places), model.config.latent_dim), dtype=np.float32)
    for first in range(0, len(order), _BLOCK):
        block = order[first : first + _BLOCK]
        result[block] = embed(model, read_samples(index, places[block]))
    return result


def _shards_of(run: RunFolder) -> ShardIndex:
    """The shards a run was trained on, as they were then.

    Raises:
        RunError: If they are not there any more.
        ShardError: If they are damaged.
    """
    description: dict[str, Any] = run.read_description()
    folder, wanted = Path(description["shards"]), description["manifest_sha256"]
    if folder.is_dir():
        if manifest_checksum(folder) == wanted:
            return open_shards(folder)
        for generation in range(1, read_manifest(folder).generation):
            path = folder / kept_name(generation)
            if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == wanted:
                return open_shards(folder, generation)
    message = (
        f"the shards that {run.path} was trained on are not in {folder} any more as they were then."
    )
    raise RunError(message)
