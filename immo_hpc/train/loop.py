"""Training from start, or from a checkpoint, to the best model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass

from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.nn import ImmoModel
from immo_hpc.train.agreement import AgreedStop
from immo_hpc.train.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    read_checkpoint,
)
from immo_hpc.train.device import (
    own_randomness,
    threads,
    worthwhile_threads,
)
from immo_hpc.train.distributed import ALONE, Group
from immo_hpc.train.distributed.gpu import group_device
from immo_hpc.train.interrupt import StopRequest
from immo_hpc.train.metrics import EpochRecord, rewrite_metrics
from immo_hpc.train.model_file import save_model
from immo_hpc.train.run import RunFolder
from immo_hpc.train.samples import Samples, features_of
from immo_hpc.train.saving import Saver
from immo_hpc.train.trainer import Trainer
from immo_hpc.train.warm_start import (
    WarmStart,
    take_weights,
)

OnEpoch = Callable[[EpochRecord], None]


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        model: The network with the best weights, in eval mode.
        records: One record an epoch, oldest first.
        best_epoch: Epoch of the best weights; None if no held-out samples chose one.
        notices: What the user should know, as sentences.
    """

    model: ImmoModel
    records: tuple[EpochRecord, ...]
    best_epoch: int | None
    notices: tuple[str, ...]


def train(
    cohort: Samples,
    config: ImmoConfig,
    *,
    run: RunFolder | None = None,
    start: WarmStart | None = None,
    on_epoch: OnEpoch | None = None,
    group: Group = ALONE,
) -> Training:
    """Train on a prepared cohort, in memory or into a run folder.

    Args:
        cohort: Prepared cohort, or opened shards that are streamed; trained on its 'train'
            side, stopped by its 'validation' side. Without a split all samples are trained on.
        config: Resolved configuration.
        run: Existing run folder: gone on with from its newest checkpoint, if it has one,
            and filled. None: nothing is written and no signal is caught.
        start: Run whose weights the training begins with, unless there is a checkpoint.
        on_epoch: Called with each epoch's record.
        group: Processes that share the training, each of which calls this with the same
            cohort and configuration; the first one writes.

    Returns:
        The finished training. Torch's generators and threads are left as they were.

    Raises:
        ConfigError: If the configuration names a device or layer that is not there.
        InterruptedRun, OutputError, RunError, TrainingError: As in `train_run`.
    """
    device = group_device(config.train.device, group)
    stop = StopRequest()
    agreed = AgreedStop(stop, group)
    with own_randomness(config.seed, device):
        trainer = Trainer(cohort, config, device, group, agreed)
        num_threads = config.train.num_threads or worthwhile_threads(
            trainer.model, -(-config.train.batch_size // group.world_size)
        )
        if start is not None:
            take_weights(trainer.model, features_of(cohort), start)
            trainer.notices += start.sentences()
        with threads(num_threads), stop if run is not None else nullcontext():
            saver = None
            if run is not None:
                _restore(trainer, run, group)
                saver = Saver(run, config.train, agreed, group)
            _train_epochs(trainer, saver, on_epoch)
            model = trainer.best_model()
            if run is not None and group.is_first:
                save_model(
                    run.path,
                    model,
                    features_of(cohort),
                    cohort.roles,
                    best_epoch=trainer.best_epoch,
                )
            group.barrier()
    return Training(model, tuple(trainer.records), trainer.best_epoch, tuple(trainer.notices))


def fit(
    cohort: PreparedCohort,
    config: ImmoConfig,
    *,
    run: RunFolder | None = None,
    on_epoch: OnEpoch | None = None,
) -> ImmoModel:
    """The model of `train`, for callers that need nothing else."""
    return train(cohort, config, run=run, on_epoch=on_epoch).model


def _train_epochs(trainer: Trainer, saver: Saver | None, on_epoch: OnEpoch | None) -> None:
    while not trainer.is_over:
        with closing(trainer.steps()) as steps:
            for _ in steps:
                if saver is not None:
                    saver.after_step(trainer)
        record = trainer.finish_epoch()
        if saver is not None:
            saver.after_epoch(trainer, record)
        if on_epoch is not None:
            on_epoch(record)


def _restore(trainer: Trainer, run: RunFolder, group: Group) -> None:
    """Put the trainer and the metrics where the newest checkpoint is."""
    found: list[Checkpoint] = []

    def find() -> str:
        for left in run.checkpoints.glob(".*"):
            left.unlink()  # of a write that was killed
        newest, notices = newest_checkpoint(run.checkpoints)
        trainer.notices += notices
        found.extend([newest] if newest else [])
        return newest.file_name if newest else ""

    name = group.on_first(find)
    if name and not found:
        found.append(read_checkpoint(run.checkpoints / name))
    for checkpoint in found:
        trainer.restore(checkpoint)
        trainer.notices.append(
            f"resumed in epoch {checkpoint.epoch} after {checkpoint.step} of "
            f"{trainer.num_batches} steps."
        )
    if group.is_first:
        rewrite_metrics(run.metrics, trainer.records)
