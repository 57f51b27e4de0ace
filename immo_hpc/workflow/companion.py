"""After a training: the companion of its network, fitted once and kept in the run folder."""

from __future__ import annotations

from pathlib import Path

from immo_hpc.companion import save_companion
from immo_hpc.inference.companion import companion_of
from immo_hpc.train import RunFolder, load_model
from immo_hpc.train.samples import load_samples
from immo_hpc.train.threads import one_thread


@one_thread()
def write_companion(run: RunFolder, shards: Path) -> str | None:
    """Fit and write the companion of a finished run that has none and asks for one.

    It follows from the shards, the weights and the configuration alone: a run whose process
    was killed before this is given the same one when it is resumed.

    Args:
        run: A finished run.
        shards: The shards it was trained on.

    Returns:
        A sentence for the user; None if there was nothing to do.

    Raises:
        OutputError: If the folder cannot be written.
        ShardError: If the shards are damaged.
    """
    config = run.read_config()
    if not config.train.companion or run.companion.exists():
        return None
    samples, _ = load_samples(shards, config.train)
    companion, notice = companion_of(load_model(run.path).model, samples, config)
    save_companion(run.path, companion)
    return notice
